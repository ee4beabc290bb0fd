"""Partitions: whole seconds that tile, credentials by name, and the same table from every read."""

import json
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import cloudpickle
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from itnio_voice import (
    DecodeError,
    IncompleteWindowError,
    Retry,
    SipRecord,
    TimeRangeError,
    TransportError,
    VoiceRecord,
)
from itnio_voice._model.records import CallRecord
from itnio_voice.outputs.arrow import schema
from itnio_voice.outputs.partitions import mean_amount, partition_schema, partitions, read_partition
from itnio_voice.sandbox import Behaviour, Sandbox

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 2 * DAY
START = END - 3 * DAY
KEY, SECRET = "key-of-eu", "secret-of-eu"
QUICK = Retry(attempts=2, wait_initial=0.01, wait_max=0.02)


def accounts_file(folder: Path, base_url: str) -> Path:
    """Write a file of the account `eu`."""
    file = folder / "accounts.toml"
    file.touch(mode=0o600)
    file.write_text(f'[eu]\napi_key = "{KEY}"\napi_secret = "{SECRET}"\nbase_url = "{base_url}"\n')
    return file


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """Run a sandbox with records on the boundaries of days, and beside them."""
    with Sandbox(records=300, sip_records=100, start=START + SECOND, end=END, accounts={KEY: SECRET}) as sandbox:
        times = [START + day * DAY + step * SECOND for day in (1, 2) for step in (-1, 0, 1) for _ in range(3)]
        sandbox.insert(*({"submitTime": at.isoformat()} for at in times))
        yield sandbox


@pytest.fixture
def sandbox(service: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Return the sandbox, whose account this process finds by its name."""
    monkeypatch.setenv("ITNIO_ACCOUNTS", str(accounts_file(tmp_path, service.base_url)))
    service.reset_requests()
    yield service
    service.behaviour, service.on_request = Behaviour(), None


@pytest.mark.parametrize("ends", ["[)", "(]", "[]", "()"])
@pytest.mark.parametrize("span", [DAY, timedelta(hours=7, seconds=1)])
def test_partitions_have_each_record_once(sandbox: Sandbox, ends: Any, span: timedelta) -> None:
    """Adjacent partitions of whole seconds have each record once, whichever ends are inclusive."""
    sandbox.behaviour = Behaviour(ends=ends)
    parts = partitions(["eu"], START, END, span=span)
    assert [] == sandbox.requests
    tables = [read_partition(**part) for part in parts]
    ids = pa.concat_tables(tables)["voice_id"].to_pylist()

    assert (START.isoformat(), END.isoformat()) == (parts[0]["start"], parts[-1]["end"])
    assert [] == [pair for pair in pairwise(parts) if pair[0]["end"] != pair[1]["start"]]
    assert sandbox.ids(START, END) == set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_a_table_has_the_same_columns_with_and_without_records(sandbox: Sandbox, of: type[CallRecord]) -> None:
    """The columns are those of arrow.schema with the account, and repeating text is plain."""
    some = read_partition("eu", START, END, of=of)
    none = read_partition("eu", START + SECOND * 0.1, START + SECOND * 0.2, of=of)

    assert some.num_rows > 0 == none.num_rows
    assert partition_schema(of) == some.schema == none.schema
    assert schema(of, account=True).names == some.schema.names
    assert [] == [column for column in some.schema if pa.types.is_dictionary(column.type)]
    assert {"eu"} == set(some["account"].to_pylist())
    assert sandbox.requests


def test_another_type_of_amounts(sandbox: Sandbox) -> None:
    """With `money`, amounts and rates have another type; one that cannot hold an amount is an error that names it."""
    wide, narrow = pa.decimal128(38, 18), pa.decimal128(4, 3)
    table, usual = read_partition("eu", START, END, money=wide), read_partition("eu", START, END)

    assert partition_schema(money=wide) == table.schema
    assert [wide, wide] == [table.schema.field(name).type for name in ("cost", "rate")]
    assert pc.sum(usual["cost"]).as_py() == pc.sum(table["cost"]).as_py() > 0
    with pytest.raises(DecodeError, match="money="):
        read_partition("eu", START, END, money=narrow)
    sandbox.reset_requests()
    with pytest.raises(ValueError, match=r"money must be a decimal type such as pa\.decimal128\(38, 18\)"):
        read_partition("eu", START, END, money=pa.float64())
    assert [] == sandbox.requests


def test_a_partition_read_again_is_the_same_table(sandbox: Sandbox) -> None:
    """Rows are sorted, so pages of another size or order, a fault, and the form of the times change nothing."""
    part = partitions(["eu"], START, END)[0]
    expected = read_partition(**part)
    variants = [Behaviour(order="descending"), Behaviour(order="unstable"), Behaviour(order="by_hash")]
    for behaviour in variants:
        sandbox.behaviour = behaviour
        table = read_partition(**part, concurrency=2, retry=QUICK)
        assert expected.equals(table, check_metadata=True)
        assert [column.num_chunks for column in expected.columns] == [column.num_chunks for column in table.columns]
    sandbox.behaviour = Behaviour()
    elsewhere = timezone(timedelta(hours=-7))

    assert expected.equals(read_partition("eu", START.astimezone(elsewhere).isoformat(), END))
    assert expected.equals(pickle.loads(pickle.dumps(read_partition))(**json.loads(json.dumps(part))))  # noqa: S301
    times: list[Any] = expected["submit_time"].to_pylist()
    assert sorted(times) == times


def test_no_secret_is_in_a_task_a_log_or_an_error(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks, log records and errors, with the variables of their frames, have no secret, also if the API refuses."""
    caplog.set_level("DEBUG")
    parts = partitions((), START, END)
    sent = [cloudpickle.dumps(read_partition), pickle.dumps(parts), json.dumps(parts).encode()]
    read_partition(**parts[0])
    sandbox.behaviour = Behaviour(locked=True)
    errors: list[BaseException] = []
    with pytest.raises(Exception, match="unlock") as refused:
        read_partition(**parts[0])
    errors.append(refused.value)
    monkeypatch.delenv("ITNIO_ACCOUNTS")
    with pytest.raises(ValueError, match="ITNIO_ACCOUNTS") as unknown:
        read_partition(**parts[0])
    errors.append(unknown.value)
    shown = [str(error) for error in errors] + [repr(error) for error in errors] + [caplog.text]
    for error in errors:
        trace = error.__traceback__
        while trace:
            shown += [repr(value) for value in trace.tb_frame.f_locals.values() if value not in (KEY, SECRET)]
            trace = trace.tb_next
        sent.append(pickle.dumps(error))

    assert "eu" in "".join(shown)
    assert [] == [text for text in shown if SECRET in text and "def " not in text]
    assert [] == [data for data in sent if SECRET.encode() in data or sandbox.base_url.encode() in data]


@pytest.mark.anyio
async def test_inside_an_event_loop_it_raises_with_advice(sandbox: Sandbox) -> None:
    """It would block the loop, so it raises before any request; in another thread it works."""
    part = partitions(["eu"], START, END)[0]
    with pytest.raises(RuntimeError, match=r"await anyio\.to_thread\.run_sync\(…\)"):
        read_partition(**part)

    assert [] == sandbox.requests
    assert partition_schema() == (await anyio.to_thread.run_sync(lambda: read_partition(**part))).schema


def test_a_partition_is_complete_or_an_error(sandbox: Sandbox) -> None:
    """A partition that ends in the future, or is too old, raises, here and after pickling."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(IncompleteWindowError, match=r"account eu: .* end the range some minutes earlier") as early:
        read_partition("eu", soon - timedelta(hours=2), soon)
    with pytest.raises(TimeRangeError):
        read_partition("eu", START - 70 * DAY, START - 69 * DAY)

    assert str(early.value) == str(pickle.loads(pickle.dumps(early.value)))  # noqa: S301
    assert sandbox.requests


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        (("asia", START, END), {}, "there is no account 'asia' in"),
        (("asia", START, START + SECOND / 2), {}, "there is no account 'asia' in"),
        (("as\x1b[31mia", START, END), {}, r"there is no account 'as\\x1b\[31mia'"),
        ((None, START, END), {}, "account must be the name of an account, not None"),
        (("eu", "yesterday", END), {}, "start must be ISO 8601 text with an offset, .* not 'yesterday'"),
        (("eu", START, "2026-10-01T00:00:00"), {}, "end must be a datetime with an offset"),
        (("eu", START.replace(tzinfo=None), END), {}, "start must be a datetime with an offset"),
        (("eu", END, START), {}, "start must be before end"),
        (("eu", 5, END), {}, "start must be a datetime with an offset, such as tzinfo=UTC, not 5"),
        (("eu", START, END), {"of": CallRecord}, "of must be one of VoiceRecord, SipRecord"),
        (("eu", START, END), {"where": {"phone_name": "x"}}, "unknown filter 'phone_name'"),
        (("eu", START, END), {"http_client": None}, "http_client cannot be sent to the workers"),
        (("eu", START, END), {"base_url": "https://example.org"}, "base_url cannot be sent to the workers"),
        (("eu", START, END), {"concurrency": 0}, "concurrency must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_request_nothing(sandbox: Sandbox, arguments: Any, options: Any, problem: str) -> None:
    """A wrong argument is a ValueError before anything is requested."""
    with pytest.raises(ValueError, match=problem):
        read_partition(*arguments, **options)
    assert [] == sandbox.requests


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        (("eu", START, END), {}, r"accounts are names such as \['eu'\]"),
        ((["eu", "eu"], START, END), {}, "named twice would be counted twice: eu"),
        ((["asia"], START, END), {}, "there is no account 'asia'"),
        ((None, START, END), {}, r"accounts are names such as \['default'\], not None"),
        (([b"eu"], START, END), {}, r"accounts are names such as \['default'\], not b'eu'"),
        (([[], []], START, END), {}, r"accounts are names such as \['default'\], not \[\]"),
        ((["eu"], END, START), {}, "start must be before end"),
        ((["eu"], START.replace(tzinfo=None), END), {}, "start must be a datetime with an offset"),
        ((["eu"], START, END), {"span": SECOND / 2}, "span must be a timedelta of whole seconds"),
    ],
)
def test_wrong_partitions_are_refused(sandbox: Sandbox, arguments: Any, options: Any, problem: str) -> None:
    """A wrong argument is a ValueError, where the partitions are made."""
    with pytest.raises(ValueError, match=problem):
        partitions(*arguments, **options)
    assert [] == sandbox.requests


def test_a_range_within_a_second_has_no_partition(sandbox: Sandbox) -> None:
    """Both ends are rounded down, so ranges that share an end within a second tile."""
    times = [START, START + DAY + SECOND * 0.6, END]
    found = [partitions(["eu"], *pair) for pair in pairwise(times)]

    assert [] == partitions(["eu"], START + SECOND * 0.1, START + SECOND * 0.9)
    assert partitions(["eu"], START, END, span=DAY)[0]["end"] == found[0][-1]["end"] == found[1][0]["start"]
    assert [] == sandbox.requests


def test_means_are_those_of_arrow() -> None:
    """The mean from a sum and a count has all digits of Arrow's, also where the rest is a half, or almost."""
    draw = Random(7)
    for scale, digits in ((8, 18), (16, 30), (18, 30)):
        for count in chain(range(1, 40), [20_001]):
            amounts = [Decimal(draw.randrange(-(10**digits), 10**digits)).scaleb(-scale) for _ in range(min(count, 50))]
            column: Any = pa.array(amounts * (count // len(amounts)), pa.decimal128(38, scale))
            total = pc.sum(column).as_py()
            assert str(pc.mean(column).as_py()) == str(mean_amount(total, len(column)))
    half, zeros = Decimal("0.00000001"), [Decimal("0E-8")]
    small: Any
    for small in ([half, *zeros], [-half, *zeros], [half, *zeros * 2], [half, half, *zeros], [half] * 4 + zeros * 5):
        column = pa.array(small, pa.decimal128(18, 8))
        assert pc.mean(column).as_py() == mean_amount(sum(small), len(small))
    assert [None, None] == [mean_amount(None, 0), mean_amount(Decimal(0), 0)]


@pytest.mark.parametrize(
    ("total", "count", "problem"),
    [
        (1.5, 3, "a float has lost digits already"),
        (Decimal("NaN"), 3, "total must be a finite Decimal"),
        (Decimal("1" * 77), 3, "total must be a finite Decimal of at most 76 digits"),
        (Decimal(1), -1, "count must be a whole number from 0, not -1"),
        (Decimal(1), 1.0, "count must be a whole number from 0, not 1.0"),
        (Decimal(1), "3", "count must be a whole number from 0, not '3'"),
    ],
)
def test_wrong_sums_and_counts_are_refused(total: Any, count: Any, problem: str) -> None:
    """A sum that may have lost digits is refused."""
    with pytest.raises(ValueError, match=problem):
        mean_amount(total, count)


class _Liar(BaseHTTPRequestHandler):
    """Answers each query with two records, and a total of three; or not at all."""

    requests = 0
    requested: threading.Event
    hang: threading.Event | None = None

    def do_POST(self) -> None:
        """Answer a query."""
        type(self).requests += 1
        self.requested.set()
        if self.hang:
            self.hang.wait()
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        size, current = query["size"], query["current"]
        at = (START + timedelta(hours=1)).isoformat()
        records = [{"voiceId": name, "submitTime": at, "cost": "0.1"} for name in ("a", "b")]
        rows = records[(current - 1) * size : current * size]
        data = {"records": rows, "total": 3, "size": size, "current": current, "pages": -(-3 // size)}
        body = json.dumps({"status": "0", "reason": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # the client may have given up
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Liar]]:
    """Run a server that shares no code with the sandbox."""

    class Handler(_Liar):
        requested = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("ITNIO_ACCOUNTS", str(accounts_file(tmp_path, f"http://127.0.0.1:{server.server_port}")))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Handler
        if Handler.hang:
            Handler.hang.set()
        server.shutdown()
        thread.join()


def test_a_server_that_lies_about_its_total_is_an_error(liar: type[_Liar]) -> None:
    """A total that its records do not add up to gives an error, not a table."""
    with pytest.raises(IncompleteWindowError):
        read_partition("eu", START, START + timedelta(hours=2), retry=QUICK)
    assert liar.requests > 1


def test_a_timeout_leaves_no_thread(liar: type[_Liar]) -> None:
    """A server that does not answer is an error after the session's retries, and the thread of the read ends."""
    liar.hang = threading.Event()
    before = {thread for thread in threading.enumerate() if "portal" in thread.name}
    with pytest.raises(TransportError):
        read_partition("eu", START, END, timeout=0.2, retry=QUICK)

    assert before == {thread for thread in threading.enumerate() if "portal" in thread.name}


def test_ctrl_c_ends_a_read(liar: type[_Liar]) -> None:
    """An interrupt while the server does not answer ends the read, and is raised."""
    liar.hang = threading.Event()
    main = threading.main_thread().ident
    assert main

    def interrupt() -> None:
        liar.requested.wait()
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        read_partition("eu", START, END)
    interrupting.join()

    assert not liar.hang.is_set()


def test_a_worker_needs_only_the_extra_arrow() -> None:
    """The module imports neither Dask nor pandas."""
    import subprocess

    script = "import sys, itnio_voice.outputs.partitions; print({'dask', 'pandas', 'ray', 'pyspark'} & {*sys.modules})"
    assert "set()" == subprocess.check_output([sys.executable, "-c", script], text=True).strip()  # noqa: S603
