"""The log records of windows, under the public name `itnio_voice.windows`, and their reports to observers."""

from datetime import datetime, timedelta
from typing import Any

from .._model.observing import WindowReading
from .._model.printable import get_logger
from .._model.windows import Window
from .open_window import OpenWindow

__all__ = ["UNREAD", "log_skipped", "log_window", "reading_of", "warn_unread"]

_LOGGER = get_logger("itnio_voice.windows")

UNREAD = "the range ends at %s, and the server's time is %s: reading ends at %s, and the rest stays unread"


def log_window(level: int, message: str, opened: OpenWindow[Any], detail: object, *, number: int | None = None) -> None:
    """Log a message about an open window; `number` is the pass that it is about, by default the current one."""
    reading = opened.current
    fields = {"itnio.total": reading.total, "itnio.rows": reading.rows, "itnio.pass": number or opened.passes}
    _LOGGER.log(level, message, opened.window, detail, extra={**fields, **_window_fields(opened.window)})


def reading_of(opened: OpenWindow[Any], width: timedelta, records: int, now: float) -> WindowReading:
    """Return the report of a window that is complete or closed. `width` is that of the next window, from its start."""
    return WindowReading(
        window=opened.window,
        outcome="complete" if opened.is_complete else "narrowed" if width < opened.window.span else "failed",
        records=records,
        total=opened.current.total,
        pages=opened.pages,
        passes=opened.passes,
        error=type(opened.error).__name__ if opened.error else None,
        began=opened.began,
        ended=now,
    )


def log_skipped(level: int, window: Window) -> None:
    """Log that a part of the range is older than the server's retention."""
    _LOGGER.log(level, "%s: skipped: older than the server's retention", window, extra=_window_fields(window))


def warn_unread(gap: Window, end: datetime, now: datetime) -> None:
    """Warn that a part of the range is in the server's future, and is not read."""
    times = (at.isoformat(timespec="seconds") for at in (gap.end, now, end))
    _LOGGER.warning(UNREAD, *times, extra=_window_fields(gap))


def _window_fields(window: Window) -> dict[str, str]:
    """Return the fields of a log record that hold a window."""
    return {"itnio.window_start": window.start.isoformat(), "itnio.window_end": window.end.isoformat()}
