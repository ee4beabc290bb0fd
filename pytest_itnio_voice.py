"""The pytest plugin: a fixture with a running sandbox, and its mark.

It lies beside the package because pytest imports it at every start: `itnio_voice` is imported only by tests that use
the fixture.
"""

from inspect import signature
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from itnio_voice.sandbox import Sandbox

__all__ = ["itnio_sandbox", "pytest_configure", "pytest_runtest_setup"]

_MARK = "itnio_sandbox"
_PREFIX = "itnio_"
_SMALL = {"records": 200, "sip_records": 50}


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", f"{_MARK}(**options): arguments of the itnio_sandbox fixture's Sandbox")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that has a misspelled mark, which would have no effect."""
    known = {line.partition(":")[0].partition("(")[0].strip() for line in item.config.getini("markers")}
    for mark in item.iter_markers():
        if mark.name.startswith(_PREFIX) and mark.name not in known:
            _fail(f"unknown mark {mark.name!r}: use {_MARK}, or register your own mark in the ini option markers")


@pytest.fixture
def itnio_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Sandbox]":
    """Run a sandbox for one test, with 200 voice-message and 50 phone records.

    `@pytest.mark.itnio_sandbox(records=1000, behaviour=Behaviour(…))` passes other arguments to its `Sandbox`. The
    marks of a test, its class and its module are combined; the closest one takes precedence.

    During the test, `ITNIO_API_KEY`, `ITNIO_API_SECRET` and `ITNIO_BASE_URL` are those of the sandbox's first account,
    and `ITNIO_ACCOUNTS` is not set.
    """
    with _sandbox(request.node) as sandbox:
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
        yield sandbox


def _sandbox(node: pytest.Item) -> "Sandbox":
    """Return the sandbox that the marks of a test describe; fail the test if one is wrong."""
    try:
        from itnio_voice.sandbox import Sandbox  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        _fail(f"the fixture {_MARK}: {error}")
    known = list(signature(Sandbox).parameters)
    options: dict[str, Any] = dict(_SMALL)
    for mark in reversed(list(node.iter_markers(_MARK))):
        unknown = ", ".join([*map(repr, mark.args), *(name for name in mark.kwargs if name not in known)])
        if unknown:
            _fail(f"the mark {_MARK} has no option {unknown}: its options are {', '.join(known)}, given by name")
        options |= mark.kwargs
    try:
        return Sandbox(**options)
    except (TypeError, ValueError) as error:
        _fail(f"the mark {_MARK}: {error}")


def _fail(why: str) -> NoReturn:
    raise pytest.fail.Exception(why, pytrace=False) from None
