"""The pytest plugin: a sandbox for each test, set by a marker."""

import pytest

from itnio_voice.sandbox import Behaviour, Sandbox


def test_default(itnio_sandbox: Sandbox) -> None:
    """Without a marker, it runs with a small data set of both kinds."""
    assert itnio_sandbox.base_url.startswith("http://127.0.0.1:")
    assert len(itnio_sandbox.ids()) == 200
    assert len(itnio_sandbox.ids(kind="sip")) == 50


@pytest.mark.itnio_sandbox(records=3, behaviour=Behaviour(locked=True))
def test_marker(itnio_sandbox: Sandbox) -> None:
    """The marker's options are the sandbox's, beside the default ones."""
    assert len(itnio_sandbox.ids()) == 3
    assert len(itnio_sandbox.ids(kind="sip")) == 50
    assert itnio_sandbox.behaviour.locked


def test_marker_is_known(pytestconfig: pytest.Config) -> None:
    """The marker is registered, so that strict runs take it."""
    assert any(line.startswith("itnio_sandbox(") for line in pytestconfig.getini("markers"))
