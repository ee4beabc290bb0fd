"""The demonstration: a sandbox, two months of its records through the public API, and what they say."""

import time
from datetime import UTC, datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..models import CallRecord, VoiceRecord
from ..sandbox import Sandbox
from ..session import VoiceSession
from ..signing import Credentials
from .summary import Summary

__all__ = ["run"]

SHOWN = 10
DAYS = 60
WIDTH = 80
LONGEST_DESTINATION = 17
NOTHING = "–"


class _Rate(ProgressColumn):
    """Records per second; rich's own column shows it only where the total is unknown."""

    def render(self, task: Task) -> Text:
        """Return the rate, over the whole task once it is finished."""
        rate = task.finished_speed or task.speed
        return Text(f"{rate or 0:,.0f}/s")


async def run(records: int, seed: int) -> None:
    """Start a sandbox with so many records, walk them, and print the first ones and a summary."""
    end = datetime.now(UTC).replace(microsecond=0)
    start = end - timedelta(days=DAYS)
    output = Console()
    output.width = max(output.width, WIDTH) if output.is_terminal else WIDTH
    output.print(f"Making a sandbox with {records:,} call records …")
    async with Sandbox(records=records, start=start, end=end, seed=seed) as sandbox:
        began = time.monotonic()
        first, summary = await _walk(sandbox, start, end)
        spent, requests = time.monotonic() - began, len(sandbox.requests)
    output.print(_calls(first))
    output.print(_figures(summary, requests, spent))


async def _walk(sandbox: Sandbox, start: datetime, end: datetime) -> tuple[list[VoiceRecord], Summary]:
    """Walk the sandbox's records as anyone would, with a progress bar on a terminal's standard error."""
    first: list[VoiceRecord] = []
    summary = Summary()
    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, _Rate(), TimeElapsedColumn(), console=screen)
    bar.disable = not screen.is_terminal
    credentials = Credentials(sandbox.api_key, sandbox.api_secret)
    async with VoiceSession(credentials, base_url=sandbox.base_url) as session:
        with bar:
            task = bar.add_task("Reading")
            stream = session.records(start, end)
            async for page in stream.pages():
                for record in page.records:
                    summary.add(record)
                first += page.records[: SHOWN - len(first)]
                bar.update(task, completed=stream.progress.records, total=stream.progress.expected)
    return first, summary


def _calls(records: list[VoiceRecord]) -> Table:
    """Return the table of the first records."""
    table = Table(title=f"The first {len(records)} calls", title_justify="left", box=SIMPLE_HEAD)
    for name in ("time (UTC)", "called", "destination"):
        table.add_column(name, no_wrap=True)
    for name in ("s", "code", "cost"):
        table.add_column(name, no_wrap=True, justify="right")
    for record in records:
        table.add_row(
            f"{record.submit_time.astimezone(UTC):%m-%d %H:%M}" if record.submit_time else NOTHING,
            record.callee or NOTHING,
            _shortened(record.code or NOTHING),
            str(record.call_duration) if record.answered else NOTHING,
            record.termination_code or NOTHING,
            _cost(record),
        )
    return table


def _shortened(destination: str) -> Text:
    text = Text(destination)
    text.truncate(LONGEST_DESTINATION, overflow="ellipsis")
    return text


def _cost(record: CallRecord) -> str:
    return NOTHING if record.cost is None else f"{record.cost:f} {record.currency or 'USD'}"


def _figures(summary: Summary, requests: int, seconds: float) -> Table:
    """Return the table of the summary."""
    table = Table(title="Summary", title_justify="left", show_header=False, box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(justify="right")
    ratio, duration = summary.answer_seizure_ratio, summary.average_call_duration
    table.add_row("calls", f"{summary.calls:,}")
    table.add_row("answer-seizure ratio (ASR)", NOTHING if ratio is None else f"{ratio:.1%}")
    table.add_row("average call duration (ACD)", NOTHING if duration is None else f"{duration:.1f} s")
    for currency, cost in sorted(summary.cost.items()):
        table.add_row(f"cost in {currency}", f"{cost:,f}")
    table.add_row("requests sent", f"{requests:,}")
    table.add_row("time", f"{seconds:.1f} s")
    return table
