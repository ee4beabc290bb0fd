"""`itnio-voice demo`: two months of a sandbox's records, read through the public interface, and their figures."""

import time
from datetime import UTC, datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..._client.session import VoiceSession
from ..._http.credentials import Credentials
from ..._model.records import VoiceRecord
from ...sandbox import Sandbox
from ..progress import Bar
from ..tables import NOTHING, calls, default_columns
from ..terminal import cell, print_output
from .summary import Summary

__all__ = ["run"]

SHOWN = 10
DAYS = 60
WIDTH = 80


async def run(records: int, seed: int) -> None:
    """Start a sandbox with a number of records, read them, and print the first ones and a summary."""
    end = datetime.now(UTC).replace(microsecond=0)
    start = end - timedelta(days=DAYS)
    print_output(Text(f"Making a sandbox with {records:,} call records …"), width=WIDTH)
    async with Sandbox(records=records, start=start, end=end, seed=seed) as sandbox:
        began = time.monotonic()
        first, summary = await _walk(sandbox, start, end)
        spent, requests = time.monotonic() - began, len(sandbox.requests)
    table = calls([("", record) for record in first], default_columns(), title=f"The first {len(first)} calls")
    print_output(table, _figures(summary, requests, spent), width=WIDTH)


async def _walk(sandbox: Sandbox, start: datetime, end: datetime) -> tuple[list[VoiceRecord], Summary]:
    """Read the sandbox's records, with a progress bar on a terminal's standard error."""
    first: list[VoiceRecord] = []
    summary = Summary()
    credentials = Credentials(sandbox.api_key, sandbox.api_secret)
    async with VoiceSession(credentials, base_url=sandbox.base_url) as session:
        stream = session.records(start, end)
        with Bar([stream]) as bar:
            async for page in stream.pages():
                for record in page.records:
                    summary.add(record)
                first += page.records[: SHOWN - len(first)]
                bar.show()
    return first, summary


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
        table.add_row(cell(f"cost in {currency}"), f"{cost:,f}")
    table.add_row("requests sent", f"{requests:,}")
    table.add_row("time", f"{seconds:.1f} s")
    return table
