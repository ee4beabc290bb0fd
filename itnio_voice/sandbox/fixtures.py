"""A pytest plugin with a running sandbox: `pytest_plugins = ["itnio_voice.sandbox.fixtures"]`."""

from collections.abc import Iterator
from typing import Any

import pytest

from .server import Sandbox

__all__ = ["itnio_sandbox", "pytest_configure"]

_MARKER = "itnio_sandbox"
_SMALL = {"records": 200, "sip_records": 50}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{_MARKER}(**options): arguments of the itnio_sandbox fixture's Sandbox")


@pytest.fixture
def itnio_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox for one test, with 200 voice-message and 50 phone records.

    `@pytest.mark.itnio_sandbox(records=1000, behaviour=Behaviour(…))` passes other arguments to its `Sandbox`.
    """
    marker = request.node.get_closest_marker(_MARKER)
    options: dict[str, Any] = {**_SMALL, **(marker.kwargs if marker else {})}
    with Sandbox(**options) as sandbox:
        yield sandbox
