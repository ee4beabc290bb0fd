"""Shared by all tests: the sandbox's own pytest plugin, the two event loops, and a session on a sandbox."""

import gc
import os
import signal
from typing import Any

import hypothesis
import pytest

from itnio_voice import Credentials, Retry, VoiceSession
from itnio_voice.sandbox import Sandbox

pytest_plugins = ["pytest_itnio_voice"]

# The duration of an example depends mostly on the load of the machine.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

QUICK = Retry(wait_initial=0.001, wait_max=0.005, jitter=0.001)


def pytest_configure() -> None:
    """Let the tests be interrupted also where the shell ignores interrupts, as it does for jobs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exempt what was imported from garbage collections, which would take most of their time for it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each async test on both event loops."""
    return request.param


def environment_of(sandbox: Sandbox) -> dict[str, str]:
    """Return this process's environment, with the sandbox's account in it."""
    return os.environ | {
        "ITNIO_API_KEY": sandbox.api_key,
        "ITNIO_API_SECRET": sandbox.api_secret,
        "ITNIO_BASE_URL": sandbox.base_url,
    }


def session_on(sandbox: Sandbox, **options: Any) -> VoiceSession:
    """Return a session on a sandbox, with short waits between retries."""
    credentials = Credentials(sandbox.api_key, sandbox.api_secret)
    return VoiceSession(credentials, base_url=sandbox.base_url, **{"retry": QUICK, **options})
