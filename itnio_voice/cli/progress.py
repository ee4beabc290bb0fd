"""Progress on standard error: a bar on a terminal, and a line for each retry."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from .._client.accounts import Account
from .._client.stream import Progress, RecordStream
from .._model.printable import printable
from .._model.windows import floor
from .messages import in_cli_words
from .terminal import SCREEN, print_error

__all__ = ["Bar", "counted", "print_skipped", "print_unread"]

_LOGGER = logging.getLogger("itnio_voice")
_WARNINGS = frozenset({"itnio.late"})
_RETRIES = frozenset({"itnio.attempt", "itnio.failures"})
"""The events that are printed: those that `quiet` does not suppress, and those that it does."""
NAMED = 3
"""The maximum number of accounts whose names are shown before the bar."""


class Bar:
    """Reports the reading of accounts, unless `quiet`.

    On a terminal, a bar shows the records read and expected, their rate, the time left, the windows, and the requests
    so far, unless `drawn` is false. Each retry is a line, on a terminal or not, and so is each failed poll of `follow`.
    `more` returns the command's own figures. The warning that records appear late is printed also if `quiet`.
    """

    def __init__(
        self,
        streams: Iterable[RecordStream[Any]] = (),
        *,
        accounts: Mapping[str, Account] | None = None,
        quiet: bool = False,
        drawn: bool = True,
        before: int = 0,
        more: Callable[[], str] = str,
    ) -> None:
        self.streams: list[RecordStream[Any]] = list(streams)
        self._before = before
        self._more = more
        accounts = accounts or {}
        names = list(accounts) if len(accounts) <= NAMED else [f"{len(accounts)} accounts"]
        self._requests = _Requests(
            {account.credentials.api_key: name for name, account in accounts.items()},
            _WARNINGS if quiet else _WARNINGS | _RETRIES,
        )
        self._bar = RichProgress(
            # In ASCII, for terminals that show nothing else.
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Figures(self._requests),
            console=SCREEN,
            disable=quiet or not drawn or not SCREEN.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(printable(", ".join(names)) or "Reading", total=None, read="")
        self._level = logging.NOTSET

    def __enter__(self) -> Self:
        self._level = _LOGGER.level
        if not self._bar.disable:
            _LOGGER.setLevel(logging.DEBUG)  # the level at which each request is logged, and so counted
        _LOGGER.addHandler(self._requests)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.show()
        self._bar.stop()
        _LOGGER.removeHandler(self._requests)
        _LOGGER.setLevel(self._level)

    def show(self) -> None:
        """Update the bar with the progress of the streams."""
        if self._bar.disable or not self.streams:
            return
        progress = [stream.progress for stream in self.streams]
        read, total, text = combined_progress(progress, self._bar.tasks[0].elapsed or 0, before=self._before)
        self._bar.update(self._task, completed=read, total=total, read=f"{text} {self._more()}".rstrip())


class _Requests(logging.Handler):
    """Counts the requests that the library logs, and prints log records of some events with the name of the account.

    An event is an attribute that only its log records have.
    """

    def __init__(self, names: Mapping[str, str], events: Collection[str]) -> None:
        super().__init__()
        self.sent = 0
        self._names = names
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "itnio.outcome"):
            self.sent += 1
        elif any(hasattr(record, event) for event in self._events):
            name = self._names.get(getattr(record, "itnio.api_key", ""))
            print_error(f"{name}: {in_cli_words(record.getMessage())}" if name else in_cli_words(record.getMessage()))


class _Figures(ProgressColumn):
    """The figures after the bar; the number of requests is shown even before the first record."""

    def __init__(self, requests: _Requests) -> None:
        super().__init__()
        self._requests = requests

    def render(self, task: Task) -> Text:
        read = f"{task.fields['read']} " if task.fields["read"] else ""
        return Text(f"{read}{counted(self._requests.sent, 'request')}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where needed."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def combined_progress(streams: Sequence[Progress], seconds: float, *, before: int = 0) -> tuple[int, int | None, str]:
    """Return the number of records read of all streams, the number expected (None if not known), and both as text.

    `before` counts the records that an earlier run has read. rich's own columns lose the rate when the total
    changes, which happens often.
    """
    new = sum(progress.records for progress in streams)
    read = before + new
    expected = [progress.expected for progress in streams]
    total = None if None in expected else max(read, before + sum(filter(None, expected)))
    done = sum(progress.windows_done for progress in streams)
    planned = sum(progress.windows_planned for progress in streams)
    rate = new / max(seconds, 0.001)
    left = "" if total is None or not new else f" {timedelta(seconds=round((total - read) / rate))} left"
    of_all = "" if total is None else f"/{total:,}"
    return read, total, f"{read:,}{of_all} {rate:,.0f}/s{left} window {done}/{planned}"


def print_skipped(streams: Mapping[str, RecordStream[Any]]) -> None:
    """Print the ranges that were skipped because they are older than the server's retention."""
    for name, stream in streams.items():
        for window in stream.skipped:
            print_error(f"{name}: skipped {window}, which is older than the server's retention")


def print_unread(
    streams: Iterable[RecordStream[Any]], start: datetime, until: datetime, *, continues: bool = False
) -> None:
    """Print how far streams have read, if one ended before `until` because the server's clock has not passed it.

    `continues`: the same command reads the rest later.
    """
    parts = [(*stream.checkpoint.done, *stream.skipped) for stream in streams]
    ends = [max((part.end for part in each), default=floor(start)) for each in parts]
    last = floor(until)
    read = min(ends, default=last)
    if read < last:
        rest = (
            f"run the command again after {last.isoformat()} for the rest"
            if continues
            else f"the rest, until {last.isoformat()}, is not over on the server's clock"
        )
        print_error(f"read up to {read.isoformat()}; {rest}")
