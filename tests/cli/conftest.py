"""What the tests of the commands share: an account in the environment, on a sandbox."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from itnio_voice.sandbox import Sandbox

END = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox of two accounts, the first of which is that of the environment."""
    accounts = {"eu-key": "eu-secret", "us-key": "us-secret"}
    with Sandbox(records=150, sip_records=40, end=END, accounts=accounts) as sandbox:
        monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        yield sandbox


@pytest.fixture
def accounts(sandbox: Sandbox, tmp_path: Path) -> Path:
    """Write a file of both accounts."""
    path = tmp_path / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text(
        "".join(
            f'[{key[:2]}]\napi_key = "{key}"\napi_secret = "{secret}"\nbase_url = "{sandbox.base_url}"\n'
            for key, secret in sandbox.accounts.items()
        )
    )
    return path
