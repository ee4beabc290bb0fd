"""The pytest plugin: a sandbox for each test, configured by a marker."""

import pytest

from itnio_voice.sandbox import Behaviour, Sandbox


def test_the_default_sandbox_has_both_kinds(itnio_sandbox: Sandbox) -> None:
    """Without a marker, the sandbox has a small data set of both kinds."""
    assert itnio_sandbox.base_url.startswith("http://127.0.0.1:")
    assert len(itnio_sandbox.ids()) == 200
    assert len(itnio_sandbox.ids(kind="sip")) == 50


@pytest.mark.itnio_sandbox(records=3, behaviour=Behaviour(locked=True))
def test_the_marker_sets_options(itnio_sandbox: Sandbox) -> None:
    """The marker's options are passed to the sandbox, beside the default ones."""
    assert len(itnio_sandbox.ids()) == 3
    assert len(itnio_sandbox.ids(kind="sip")) == 50
    assert itnio_sandbox.behaviour.locked


def test_the_marker_is_registered(pytestconfig: pytest.Config) -> None:
    """The marker is registered, so that strict runs accept it."""
    assert any(line.startswith("itnio_sandbox(") for line in pytestconfig.getini("markers"))
