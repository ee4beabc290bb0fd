"""The pytest plugin, for `pytest_plugins` where entry points are not loaded: see `pytest_itnio_voice`."""

__all__ = ["pytest_plugins"]

pytest_plugins: list[str] = ["pytest_itnio_voice"]
