"""What is told on standard error: how far streams have come, on a terminal only, and what went wrong."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from ..stream import Progress, RecordStream
from ..windows import floor

__all__ = ["Bar", "say", "tell_skipped", "tell_unread"]


class Bar:
    """Records read and expected, their rate, the time left and the windows; only on a terminal, and if it is wanted."""

    def __init__(self, streams: Iterable[RecordStream[Any]] = (), *, quiet: bool = False, before: int = 0) -> None:
        self.streams = list(streams)
        self._before = before
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            console=(screen := Console(stderr=True, highlight=False)),
            disable=quiet or not screen.is_terminal,
        )
        self._task = self._bar.add_task("Reading", told="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self) -> None:
        """Show how far the streams have come now."""
        if self._bar.disable:
            return
        progress = [stream.progress for stream in self.streams]
        read, total, text = summed_up(progress, self._bar.tasks[0].elapsed or 0, before=self._before)
        self._bar.update(self._task, completed=read, total=total, told=text)

    def tell(self, text: str) -> None:
        """Print a line where the bar is shown."""
        if not self._bar.disable:
            self._bar.console.print(text, markup=False)


def summed_up(streams: Sequence[Progress], seconds: float, *, before: int = 0) -> tuple[int, int | None, str]:
    """Return how many records of all streams have been read, how many there are (None if not known), and that as text.

    `before` counts the records that an earlier run has read. rich's own columns forget the rate whenever the total
    changes, which it does.
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


def say(message: str) -> None:
    """Print a line on standard error."""
    Console(stderr=True, soft_wrap=True).print(f"itnio-voice: {message}", markup=False, highlight=False)


def tell_skipped(streams: Mapping[str, RecordStream[Any]]) -> None:
    """Say what was left out because the server keeps it no more."""
    for name, stream in streams.items():
        for window in stream.skipped:
            say(f"{name}: left out {window}, which the server keeps no more")


def tell_unread(
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
        say(f"read up to {read.isoformat()}; {rest}")
