"""The reading behind the command `records`: accounts merged by time, failures, cancellation, and the count."""

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from itnio_voice import AuthenticationError, Credentials, Retry, VoiceRecord, VoiceSession
from itnio_voice._model.windows import WIRE_ZONE
from itnio_voice.cli.commands import records as command
from itnio_voice.cli.commands.records import Row, Table, View, count, read
from itnio_voice.cli.options import Range, ReadingOptions
from itnio_voice.cli.progress import Bar
from itnio_voice.cli.tables import default_columns
from itnio_voice.cli.terminal import print_output

from ..client.test_prefetch import json_of
from ..support.virtual_time import backend_options

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LENGTH = 5_000
END = START + LENGTH * SECOND
LOOPS = ["asyncio", "trio"]
NEWEST_FIRST, OLDEST_FIRST = (View(None, oldest_first, None, json=False) for oldest_first in (False, True))


class Vendor:
    """A server of one account with a record at each of `seconds`; it takes `latency` seconds for an answer.

    `total` is what it claims instead of a number of records, and `refuses` says which requests it refuses.
    """

    def __init__(self, seconds: Sequence[int], latency: float = 0.1) -> None:
        self.rows = sorted((second, f"{latency}/{number}") for number, second in enumerate(seconds))
        self.latency = latency
        self.requests = self.in_flight = 0
        self.total: Callable[[int], int | None] = lambda total: total
        self.refuses: Callable[[int], bool] = lambda _: False

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests += 1
        refused = self.refuses(self.requests)
        self.in_flight += 1
        try:
            await anyio.sleep(self.latency)
        finally:
            self.in_flight -= 1
        if refused:
            return httpx.Response(200, json={"status": "-1", "reason": "authentication error"})
        body = json_of(request)
        first, last = (
            (datetime.fromisoformat(body["params"][name]) - START) / SECOND for name in ("strTime", "endTime")
        )
        listed = [(second, name) for second, name in self.rows if first <= second <= last]
        size, current = body["size"], body["current"]
        page = [
            {"voiceId": name, "submitTime": (START + second * SECOND).astimezone(WIRE_ZONE).isoformat()}
            for second, name in listed[(current - 1) * size : current * size]
        ]
        data = {"total": self.total(len(listed)), "size": size, "current": current, "records": page}
        date = (END + timedelta(days=10)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return httpx.Response(200, json={"status": "0", "reason": "", "data": data}, headers={"Date": date})

    def session(self) -> VoiceSession:
        """Return a session whose clock is the server's."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        session = VoiceSession(Credentials("key", "secret"), http_client=client, retry=Retry(attempts=1))
        session._transport.clock = (END + timedelta(days=10)).timestamp
        return session

    def ids(self) -> list[str]:
        """Return the ids of the records of the range, oldest first."""
        return [name for second, name in self.rows if second > 0]


class Rows:
    """An output that keeps the rows, until it has `limit` of them."""

    def __init__(self, limit: int | None = None) -> None:
        self.rows: list[Row] = []
        self.limit = limit
        self.is_full = False

    def take(self, rows: Sequence[Row]) -> None:
        """Keep rows."""
        self.rows += rows
        self.is_full = self.limit is not None and len(self.rows) >= self.limit

    def ids(self, account: str) -> list[str | None]:
        """Return the ids of an account's records."""
        return [record.voice_id for name, record in self.rows if name == account]


def run(main: Callable[[], Coroutine[Any, Any, None]], backend: str) -> None:
    """Run in virtual time."""
    anyio.run(main, backend=backend, backend_options=backend_options(backend))


async def read_all(
    vendors: Mapping[str, Vendor], output: Rows, view: View = NEWEST_FIRST, **options: Any
) -> dict[str, Any]:
    """Read the records of all accounts into an output, and return the failures."""
    streams = {
        name: vendor.session().records(START, END, newest_first=not view.oldest_first)
        for name, vendor in vendors.items()
    }
    return {**await read(streams, output, Bar(quiet=True), view, ReadingOptions(**options))}


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("view", [NEWEST_FIRST, OLDEST_FIRST])
@pytest.mark.parametrize("seed", range(5))
def test_accounts_are_merged_by_time(backend: str, view: View, seed: int) -> None:
    """Each record of each account is read once, in the order of time, also if one account is much slower."""
    chance = random.Random(seed)
    numbers = [chance.choice([0, 1, 30, 700]) for _ in range(3)]
    vendors = {
        str(index): Vendor([chance.randrange(1, LENGTH) for _ in range(number)], latency=0.1 * 10**index)
        for index, number in enumerate(numbers)
    }
    output = Rows()

    async def main() -> None:
        assert {} == await read_all(vendors, output, view)

    run(main, backend)
    times = [record.submit_time for _, record in output.rows if record.submit_time]
    assert sorted(times, reverse=not view.oldest_first) == times
    for name, vendor in vendors.items():
        assert sorted(vendor.ids()) == sorted(map(str, output.ids(name)))


@pytest.mark.parametrize("backend", LOOPS)
def test_no_request_is_sent_after_the_limit(backend: str) -> None:
    """When the output is full, the reading of all accounts ends."""
    vendors = {"a": Vendor(range(1, LENGTH), latency=0.1), "b": Vendor(range(1, LENGTH), latency=0.3)}

    async def main() -> None:
        output = Rows(limit=10)
        await read_all(vendors, output)
        requests = [vendor.requests for vendor in vendors.values()]
        await anyio.sleep(100)
        assert [0, 0] == [vendor.in_flight for vendor in vendors.values()]
        assert requests == [vendor.requests for vendor in vendors.values()]

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("fails_at", [1, 4])
def test_a_failing_account(backend: str, fails_at: int) -> None:
    """The first failure is raised and names its account, or the others are read to their end."""
    vendors = {"a": Vendor(range(1, LENGTH, 7)), "b": Vendor(range(1, LENGTH, 5))}
    vendors["b"].refuses = lambda number: number >= fails_at

    async def main() -> None:
        with pytest.raises(AuthenticationError) as caught:
            await read_all(vendors, Rows())
        assert "while reading 'b'" in caught.value.__notes__
        output = Rows()
        failures = await read_all(vendors, output, on_error="collect")
        assert ["b"] == [*failures]
        assert "while reading 'b'" in failures["b"].__notes__
        assert vendors["a"].ids()[::-1] == output.ids("a")
        assert 0 == vendors["b"].in_flight

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_a_cancelled_reading_leaves_nothing_behind(backend: str) -> None:
    """Wherever the reading is cancelled, no request goes on, and no record was passed on twice."""
    vendors = {"a": Vendor(range(1, LENGTH, 9)), "b": Vendor(range(1, LENGTH, 5), latency=0.35)}

    async def main() -> None:
        for tenths in range(1, 30, 2):
            output = Rows()
            with anyio.move_on_after(tenths / 10) as scope:
                await read_all(vendors, output)
            assert [0, 0] == [vendor.in_flight for vendor in vendors.values()]
            for name, vendor in vendors.items():
                assert output.ids(name) == vendor.ids()[::-1][: len(output.ids(name))]
            if not scope.cancelled_caught:
                assert vendors["a"].ids()[::-1] == output.ids("a")

    run(main, backend)


def table(rows: Sequence[Row], limit: int, counted: Mapping[str, int] | None, capsys: Any) -> str:
    """Return the title of a table."""
    table = Table(limit, default_columns(), oldest_first=False)
    table.take(rows)

    async def count(_: object) -> Mapping[str, int] | None:
        return counted

    print_output(*anyio.run(table.end, count, ()))
    return str(capsys.readouterr().out.splitlines()[0].strip())


@pytest.mark.parametrize(
    ("counted", "title"),
    [
        ({"a": 10_000, "b": 251}, "Calls: 4 of 10,251, the newest of each account"),
        ({"a": 3}, "Calls: 4 of 6, the newest of each account"),
        (None, "Calls: 4 of more than 4, the newest of each account"),
        ({"a": 2, "b": 9}, "Calls: 4 of more than 4, the newest of each account"),
    ],
)
def test_a_number_smaller_than_the_records_is_not_shown(
    counted: dict[str, int] | None, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The title has the counted number, unless the server has returned more records than it counts."""
    rows = [(name, VoiceRecord(voice_id=str(number))) for number in range(3) for name in "ab"]
    assert title == table(rows, 4, counted, capsys)


@pytest.mark.parametrize("backend", LOOPS)
def test_the_accounts_are_counted_together(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One failure, or more than the maximum time, gives no number and one line with the reason."""
    right, slow, wrong = Vendor(range(1, 300)), Vendor(range(1, 200), latency=60), Vendor([])
    wrong.refuses = lambda _: True
    typed = Range(START, END, END)

    async def counted(**vendors: Vendor) -> Mapping[str, int] | None:
        began = anyio.current_time()
        sessions = {name: vendor.session() for name, vendor in vendors.items()}
        found = await count(sessions, typed, ReadingOptions(), sessions)
        assert anyio.current_time() - began <= command.COUNT_SECONDS
        assert [0] * len(vendors) == [vendor.in_flight for vendor in vendors.values()]
        return found

    async def main() -> None:
        assert {"a": 299, "b": 299} == await counted(a=right, b=right)
        assert "" == capsys.readouterr().err
        assert await counted(a=right, b=slow) is None
        assert "itnio-voice: the number of records is not known: counting takes more than 10 s\n" == _line(capsys)
        assert await counted(a=right, b=wrong) is None
        assert _line(capsys).startswith("itnio-voice: the number of records is not known: AuthenticationError: -1")

    run(main, backend)


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    errors = str(capsys.readouterr().err)
    assert 1 == errors.count("\n")
    return errors


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("total", [lambda _: None, lambda total: min(total, 100), lambda total: total // 2])
def test_a_lying_total_is_counted_by_reading(backend: str, total: Callable[[int], int | None]) -> None:
    """If the server's totals are missing or wrong, the records are read instead."""
    vendor = Vendor(range(1, 300))
    vendor.total = total

    async def main() -> None:
        assert {"a": 299} == await count({"a": vendor.session()}, Range(START, END, END), ReadingOptions(), ["a"])

    run(main, backend)
