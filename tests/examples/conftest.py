"""A sandbox, and the example app that reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from itnio_voice.sandbox import Behaviour, Sandbox

from .loading import load
from .serving import END, START, Server, account


@pytest.fixture(scope="module")
def vendor() -> Iterator[Sandbox]:
    """Run a sandbox of two accounts."""
    with Sandbox(records=1_500, start=START, end=END, accounts={"eu-key": "eu-s", "us-key": "us-s"}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(vendor: Sandbox) -> Sandbox:
    """Return the sandbox, as it behaves by default."""
    vendor.behaviour = Behaviour()
    vendor.reset_requests()
    return vendor


@pytest.fixture
def accounts(vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an accounts file with the sandbox's accounts, `eu` and `us`, where the app reads it."""
    path = tmp_path / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text("".join(account(key[:2], key, secret, vendor) for key, secret in vendor.accounts.items()))
    monkeypatch.setenv("ITNIO_ACCOUNTS", str(path))
    return path


@pytest.fixture
def server(accounts: Path) -> Iterator[Server]:
    """Run the app."""
    assert accounts.is_file()
    with Server(load("web_app").app) as server:
        yield server
