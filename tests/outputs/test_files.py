"""Exports: every record is in the file once, and the file is complete or absent, at any interruption."""

import asyncio
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from itnio_voice import Credentials, ItnioError, SipRecord, VoiceRecord, VoiceSession, Window
from itnio_voice.outputs._columnar import column_chunk
from itnio_voice.outputs._journal import Journal
from itnio_voice.outputs.arrow import MONEY, schema
from itnio_voice.outputs.files import FORMATS, digest_of, export
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import environment_of, session_on

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("ITNIO_KILLS", "2"))
LONG_AGO = datetime.now(UTC) - timedelta(days=61)
END = datetime.now(UTC).replace(microsecond=0)


def _columns(table: pa.Table) -> list[dict[str, Any]]:
    return [dict(row) for row in table.to_pylist()]


READ: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".parquet": lambda path: _columns(parquet.read_table(path)),
    ".csv": lambda path: list(csv.DictReader(path.read_text().splitlines())),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    ".arrow": lambda path: _columns(ipc.open_file(str(path)).read_all()),
}


def test_every_format_is_tested() -> None:
    """The tests read each format back."""
    assert [f".{name}" for name in FORMATS] == list(READ)


def amounts(rows: list[dict[str, Any]]) -> dict[str, Decimal]:
    """Return the cost of each row by its id; a repeated id is an error."""
    found = {row["voice_id"]: Decimal(row["cost"] or 0) for row in rows}
    assert len(rows) == len(found)
    return found


async def expected(session: VoiceSession, of: type[Any] = VoiceRecord) -> dict[str | None, Decimal]:
    """Return the costs that a file should have."""
    return {record.voice_id: record.cost or Decimal() for record in await session.records(LONG_AGO, of=of).collect()}


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
@pytest.mark.parametrize("suffix", READ)
async def test_every_format_has_each_record_once(
    itnio_sandbox: Sandbox, tmp_path: Path, suffix: str, of: type[Any]
) -> None:
    """Each format has each record once, with its exact cost, under the attributes' names."""
    output = tmp_path / f"calls{suffix}"
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal:
            await export({"any": session.records(LONG_AGO, of=of)}, output, journal)
        rows = READ[suffix](output)

        assert await expected(session, of) == amounts(rows)
    assert schema(of).names == list(rows[0])
    assert [output.name] == os.listdir(tmp_path)


@pytest.mark.parametrize("suffix", READ)
async def test_a_range_without_records_is_a_readable_file(itnio_sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    """A range without records is a readable file."""
    output = tmp_path / f"calls{suffix}"
    at = LONG_AGO + timedelta(hours=1)
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal:
            await export({"any": session.records(at, at + timedelta(seconds=2))}, output, journal, account=True)

    assert [] == READ[suffix](output)


async def test_readers_agree_on_types_and_sums(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """pyarrow, polars and DuckDB read the intended types, with equal sums."""
    paths = {suffix: tmp_path / f"calls{suffix}" for suffix in (".parquet", ".arrow")}
    async with session_on(itnio_sandbox) as session:
        for path in paths.values():
            with Journal() as journal:
                await export({"any": session.records(LONG_AGO)}, path, journal)
        cost = sum((await expected(session)).values())

    assert schema() == parquet.read_schema(paths[".parquet"]).remove_metadata()
    assert schema() == ipc.open_file(str(paths[".arrow"])).schema
    for frame in (pl.read_parquet(paths[".parquet"]), pl.read_ipc(paths[".arrow"])):
        assert cost == frame["cost"].sum()
        assert pl.Decimal(18, 8) == frame.schema["cost"]
        assert pl.Datetime("us", "UTC") == frame.schema["submit_time"]
        assert pl.Categorical == frame.schema["code"]
    query = "SELECT sum(cost), typeof(any_value(submit_time)) FROM read_parquet(?)"
    rows = duckdb.connect().execute(query, [str(paths[".parquet"])]).fetchall()
    assert [(cost, "TIMESTAMP WITH TIME ZONE")] == rows


async def test_an_arrow_file_has_one_dictionary_per_column(tmp_path: Path) -> None:
    """An Arrow file has one dictionary per column, for any number of windows with different texts."""
    end = datetime.now(UTC).replace(microsecond=0)
    with Sandbox(records=0) as sandbox:
        for day in range(50):
            at = (end - timedelta(days=day, minutes=1)).isoformat()
            sandbox.insert({"submitTime": at, "terminationCode": str(day)}, {"submitTime": at, "terminationCode": None})
        async with session_on(sandbox) as session:
            for suffix in (".arrow", ".parquet"):
                with Journal() as journal:
                    await export({"any": session.records(LONG_AGO)}, tmp_path / f"calls{suffix}", journal)

    assert sorted(map(str, range(50))) == sorted(
        filter(None, pl.read_ipc(tmp_path / "calls.arrow")["termination_code"].to_list())
    )
    assert READ[".parquet"](tmp_path / "calls.parquet") == READ[".arrow"](tmp_path / "calls.arrow")


async def test_several_accounts_are_one_file(tmp_path: Path) -> None:
    """Several accounts are written to one file, each row with its account's name."""
    accounts = {"a-key": "a-secret", "b-key": "b-secret"}
    with Sandbox(records=120, accounts=accounts) as sandbox:
        sessions = {
            key[0]: VoiceSession(Credentials(key, secret), base_url=sandbox.base_url)
            for key, secret in accounts.items()
        }
        for suffix, read in READ.items():
            streams = {name: session.records(LONG_AGO) for name, session in sessions.items()}
            with Journal() as journal:
                await export(streams, tmp_path / f"calls{suffix}", journal, account=True)
            rows = read(tmp_path / f"calls{suffix}")

            assert "account" == next(iter(rows[0]))
            assert {name: sandbox.ids(account=f"{name}-key") for name in "ab"} == {
                name: {row["voice_id"] for row in rows if row["account"] == name} for name in "ab"
            }
        for session in sessions.values():
            await session.aclose()


@pytest.mark.parametrize("suffix", READ)
async def test_a_failure_leaves_the_previous_file(itnio_sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    """A failure leaves no partial file or other trace; a previous file is unchanged."""
    output = tmp_path / f"calls{suffix}"
    output.write_text("before")
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("html"),))
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal, pytest.raises(ItnioError):
            await export({"any": session.records(LONG_AGO)}, output, journal)

    assert "before" == output.read_text()
    assert [output.name] == os.listdir(tmp_path)


async def test_an_invalid_output_is_an_error_before_any_request(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """An invalid name or folder is an error before any request."""
    (tmp_path / "folder.csv").mkdir()
    wrong = {"calls.xlsx": ValueError, "none/calls.csv": NotADirectoryError, "folder.csv": IsADirectoryError}
    async with session_on(itnio_sandbox) as session:
        for name, error in wrong.items():
            with Journal() as journal, pytest.raises(error):
                await export({"any": session.records(LONG_AGO)}, tmp_path / name, journal)

    assert [] == itnio_sandbox.requests


async def test_csv_safe_is_refused_for_other_formats(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """`csv_safe` changes CSV, and is an error with another format, before any request."""
    async with session_on(itnio_sandbox) as session:
        for form in FORMATS.keys() - {"csv"}:
            with Journal() as journal, pytest.raises(ValueError, match=f"the format csv, not of {form}"):
                await export({"any": session.records(LONG_AGO)}, tmp_path / f"calls.{form}", journal, csv_safe=True)
        assert [] == itnio_sandbox.requests
        with Journal() as journal:
            await export({"any": session.records(LONG_AGO)}, tmp_path / "calls.csv", journal, csv_safe=True)
        rows = READ[".csv"](tmp_path / "calls.csv")
        assert await expected(session) == amounts(rows)
    assert "'-1" in {row["feedback_value"] for row in rows}


@pytest.mark.parametrize("suffix", READ)
async def test_an_open_file_needs_a_format(itnio_sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    """A file that is open for writing needs a format's name; it need not be seekable."""
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal, (tmp_path / "calls").open("wb") as output:
            with pytest.raises(ValueError, match="the format must be one of parquet, csv, jsonl, arrow, not None"):
                await export({"any": session.records(LONG_AGO)}, output, journal)
            stream = session.records(LONG_AGO, END)
            await export({"any": stream}, OnlyWrite(output), journal, form=suffix.removeprefix("."))
        assert itnio_sandbox.ids(LONG_AGO, END) == amounts(READ[suffix](tmp_path / "calls")).keys()


class OnlyWrite(io.BufferedIOBase):
    """A file like a pipe."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        """Write bytes."""
        return self._file.write(data)


async def test_the_journal_has_the_record_count_and_digest(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """After an export, the journal has the number of records and the digest of the file."""
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal:
            await export({"any": session.records(LONG_AGO, END)}, tmp_path / "calls.csv", journal)
            assert len(itnio_sandbox.ids(LONG_AGO, END)) == journal.records
            assert digest_of(tmp_path / "calls.csv") == journal.digest
    assert digest_of(tmp_path / "none") is None


class Blocking(Journal):
    """A journal that blocks in one of its methods, in any thread."""

    def __init__(self, path: Path, method: str) -> None:
        super().__init__(path)
        self.method = method
        self.entered, self.released = threading.Event(), threading.Event()
        self.ended = False

    def add(self, *arguments: Any) -> None:
        """Add a chunk."""
        self._block("add")
        super().add(*arguments)
        self.ended |= self.method == "add"

    def finish(self, digest: str) -> None:
        """Finish."""
        self._block("finish")
        super().finish(digest)
        self.ended |= self.method == "finish"

    def _block(self, method: str) -> None:
        if method == self.method:
            self.entered.set()
            self.released.wait()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("method", ["add", "finish"])
async def test_a_cancelled_export_leaves_no_thread(itnio_sandbox: Sandbox, tmp_path: Path, method: str) -> None:
    """A cancelled export ends only after its thread: the journal may then be closed and used again."""
    output, path = tmp_path / "calls.jsonl", tmp_path / "state"
    async with session_on(itnio_sandbox) as session:
        with Blocking(path, method) as journal:
            task = asyncio.create_task(export({"any": session.records(LONG_AGO, END)}, output, journal))
            try:
                await asyncio.to_thread(journal.entered.wait)
                for _ in range(20):
                    task.cancel()
                    await asyncio.sleep(0)
                assert not task.done()
            finally:
                journal.released.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert journal.ended
            assert output.exists() == journal.finished == (method == "finish")
        with Journal(path) as again:
            if not again.finished:
                await export({"any": session.records(LONG_AGO, END, resume=again.checkpoint("any"))}, output, again)

    assert itnio_sandbox.ids(LONG_AGO, END) == amounts(READ[".jsonl"](output)).keys()


@pytest.mark.parametrize("method", ["add", "finish"])
async def test_an_error_of_the_journal_is_raised(itnio_sandbox: Sandbox, tmp_path: Path, method: str) -> None:
    """An error of the journal is raised unchanged."""

    class Full(Journal):
        def _fail(self, *_: Any) -> None:
            message = "no space left"
            raise OSError(message)

    setattr(Full, method, Full._fail)
    async with session_on(itnio_sandbox) as session:
        with Full() as journal, pytest.raises(OSError, match="no space left"):
            await export({"any": session.records(LONG_AGO)}, tmp_path / "calls.csv", journal)


@pytest.mark.parametrize("suffix", READ)
async def test_a_file_is_finished_when_its_window_is_covered(suffix: str, tmp_path: Path) -> None:
    """A file is finished only when its window is covered. A later export reads the rest, and the file has both."""
    output, clock = tmp_path / f"calls{suffix}", time.time() - 7200
    window = Window(LONG_AGO.replace(microsecond=0), datetime.fromtimestamp(int(clock) + 3600, UTC))
    finished = []
    with Sandbox(records=0, clock=lambda: clock) as sandbox:
        for _ in range(2):
            sandbox.insert({"submitTime": datetime.fromtimestamp(clock - 60, UTC).isoformat()})
            async with session_on(sandbox) as session:
                with Journal(tmp_path / "state") as journal:
                    stream = session.records(window.start, window.end, resume=journal.checkpoint("any"))
                    await export({"any": stream}, output, journal, window=window)
                    finished.append(journal.finished)
            assert sandbox.ids() == amounts(READ[suffix](output)).keys()
            clock += 3600

    assert [False, True] == finished


async def test_expired_time_does_not_keep_a_file_unfinished(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """A range that is older than the retention and skipped will not be read later: the file is finished."""
    window = Window(END - timedelta(days=200), END - timedelta(minutes=1))
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal:
            stream = session.records(window.start, window.end, expired="skip")
            await export({"any": stream}, tmp_path / "calls.csv", journal, window=window)
            assert journal.finished
    assert stream.skipped


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
async def test_a_killed_export_can_be_resumed(tmp_path: Path, suffix: str) -> None:
    """After being killed at random times and run again, an export finally has every record once."""
    output, chance = tmp_path / f"calls{suffix}", random.Random(suffix)
    with Sandbox(
        records=3000, end=END - timedelta(minutes=2), behaviour=Behaviour(latency=0.02, max_span=timedelta(days=3))
    ) as sandbox:
        environment = environment_of(sandbox)
        period = [(END - timedelta(days=61)).isoformat(), (END - timedelta(minutes=1)).isoformat()]
        command = [sys.executable, "-m", "itnio_voice", "export", *period, "-o", str(output), "--resume"]
        for _ in range(KILLS):
            requests = len(sandbox.requests) + chance.randint(1, 30)
            with subprocess.Popen(command, env=environment) as process:  # noqa: S603
                while process.poll() is None and len(sandbox.requests) < requests:
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
        subprocess.run(command, env=environment, check=True)  # noqa: S603
        ids = sandbox.ids()
        finished, requests = output.stat().st_mtime_ns, len(sandbox.requests)
        subprocess.run(command, env=environment, check=True)  # noqa: S603

        assert ids == amounts(READ[suffix](output)).keys()
        assert finished == output.stat().st_mtime_ns
        assert requests == len(sandbox.requests)


WIDE = pa.decimal128(38, 18)


async def test_an_export_continues_with_the_type_it_was_begun_with(itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """Records that were read as `decimal128(38, 18)`, as earlier versions did, are continued in that type."""
    output = tmp_path / "calls.parquet"
    async with session_on(itnio_sandbox) as session:
        with Journal(tmp_path / "state") as journal:
            windows = session.records(LONG_AGO, END).windows()
            batch = await anext(windows)
            chunk = column_chunk(batch.records, VoiceRecord, None, WIDE)
            journal.add("any", chunk, batch.checkpoint, len(batch.records))
        with Journal(tmp_path / "state") as journal:
            stream = session.records(LONG_AGO, END, resume=journal.checkpoint("any"))
            before = len(itnio_sandbox.requests)
            refused = r"money cannot be decimal128\(18, 8\): .* begun with decimal128\(38, 18\)"
            with pytest.raises(ValueError, match=refused):
                await export({"any": stream}, output, journal, money=MONEY)
            assert before == len(itnio_sandbox.requests)
            await export({"any": stream}, output, journal)

    assert {WIDE} == {field.type for field in parquet.read_schema(output) if pa.types.is_decimal(field.type)}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
async def test_money_is_the_type_of_amounts(itnio_sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    """A file has amounts of the chosen type, with equal values; a type that could round is refused."""
    output = tmp_path / f"calls{suffix}"
    async with session_on(itnio_sandbox) as session:
        with Journal() as journal:
            await export({"any": session.records(LONG_AGO)}, output, journal, money=WIDE)
        assert await expected(session) == amounts(READ[suffix](output))
        with Journal() as journal, pytest.raises(ValueError, match="money must be a decimal type"):
            await export({"any": session.records(LONG_AGO)}, output, journal, money=pa.float64())
        with Journal() as journal, pytest.raises(ValueError, match="not of csv, which has all digits"):
            await export({"any": session.records(LONG_AGO)}, tmp_path / "calls.csv", journal, money=WIDE)
