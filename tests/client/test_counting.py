"""VoiceSession.count(): the number of records, on the sandbox and on a server that shares no code with it."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import anyio
import attrs
import httpx
import pytest

from itnio_voice import (
    AuthenticationError,
    Credentials,
    IncompleteWindowError,
    ItnioError,
    Page,
    ParameterError,
    Retry,
    SipRecord,
    TimeRangeError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice._client.counting import halves, is_confirmed, is_settled, last_page, trusted_total
from itnio_voice._walk.learned import Learned
from itnio_voice.sandbox import Behaviour, Sandbox

from ..conftest import session_on

pytestmark = pytest.mark.anyio

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=number) for number in (1, 60, 3600, 86400))
NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - 20 * DAY
ENDS = ["[]", "[)", "(]", "()"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox without records."""
    with Sandbox() as sandbox:
        yield sandbox


async def number_read(session: VoiceSession, *range_: Any, **options: Any) -> int:
    """Return the number of records that `records()` returns."""
    return len(await session.records(*range_, **options).collect())


# On the sandbox


@pytest.mark.parametrize("ends", ENDS)
async def test_the_count_is_the_number_of_records_for_every_reading_of_the_ends(ends: Any) -> None:
    """Whichever ends the server includes, a count is the number of records that are read, also of adjacent ranges."""
    chance = Random(ENDS.index(ends))
    with Sandbox(behaviour=Behaviour(ends=ends)) as sandbox:
        seconds = [START + chance.randrange(600) * SECOND for _ in range(150)]
        sandbox.insert(*({"submitTime": at.isoformat()} for at in seconds for _ in range(chance.choice([1, 1, 2, 7]))))
        async with session_on(sandbox) as session:
            for _ in range(25):
                first, middle, last = sorted(chance.sample(range(-5, 605), 3))
                a, b, c = (START + each * SECOND for each in (first, middle, last))
                counts = [await session.count(*each) for each in ((a, b), (b, c), (a, c))]
                assert counts == [await number_read(session, *each) for each in ((a, b), (b, c), (a, c))]
                assert counts[0] + counts[1] == counts[2]


BEHAVIOURS: dict[str, dict[str, Any]] = {
    "totals capped at 500": {"total_cap": 500},
    "totals capped at 777": {"total_cap": 777},
    "totals capped at 1,000": {"total_cap": 1_000},
    "totals of the page": {"total_of_page": True},
    "totals one short": {"total_one_short": True},
    "no totals": {"omits": "total"},
    "no other numbers": {"omits": {"size", "pages", "current"}},
    "duplicates": {"duplicates": 0.2},
    "short windows": {"max_span": timedelta(hours=30)},
    "small pages": {"max_size": 20},
    "no order": {"order": "by_hash"},
    "numbers as text": {"numbers_as_text": True},
    "no future": {"refuses_future_end": True},
    "overload": {"window_fails_over": 500},
    "no deep pages": {"deepest_row": 200},
    "a short retention": {"retention": timedelta(days=25)},
}


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_whatever_the_totals_are_the_count_is_the_number_of_records(name: str) -> None:
    """Windows whose totals prove nothing are read; the rest of the range is counted."""
    with Sandbox(records=1_300, behaviour=Behaviour(**BEHAVIOURS[name])) as sandbox:
        async with session_on(sandbox) as session:
            for range_ in ((NOW - 59 * DAY, NOW - 2 * DAY), (NOW - 20 * DAY, None), (NOW - 2 * HOUR, NOW - HOUR)):
                counted = await session.count(*range_, expired="skip")
                assert await number_read(session, *range_, expired="skip") == counted
                assert await session.count(*range_, expired="skip") == counted


async def test_a_count_takes_two_requests_for_each_31_days() -> None:
    """Two requests for a window, one more to confirm the largest total, and one where the boundary may change."""
    with Sandbox(records=0, sip_records=70, end=NOW) as sandbox:
        # One record every 20 minutes, so that windows of the same length have the same total.
        sandbox.insert(*({"submitTime": (NOW - (number + 0.5) * HOUR / 3).isoformat()} for number in range(60 * 72)))

        async def requests(session: VoiceSession, *range_: Any, **options: Any) -> int:
            before = len(sandbox.requests)
            assert await session.count(*range_, **options) > 0
            return len(sandbox.requests) - before

        async with session_on(sandbox) as session:
            assert 3 == await requests(session, NOW - 40 * DAY, NOW - 10 * DAY)
            assert 2 == await requests(session, NOW - 30 * DAY, NOW - 20 * DAY)
            assert 2 == await requests(session, NOW - 30 * DAY, of=SipRecord)
            assert 3 == await requests(session, NOW - 20 * HOUR)
            assert 6 == await requests(session, NOW - 59 * DAY)
            # Its largest total is equal to the one that is confirmed, so it is confirmed too.
            assert 5 == await requests(session, NOW - 45 * DAY)


async def test_filters_select_what_is_counted(sandbox: Sandbox) -> None:
    """Filters are those of the records."""
    at = START.isoformat()
    sandbox.insert(*({"submitTime": at, "sipGroupName": name} for name in ("a", "b", "b")), kind="sip")
    async with session_on(sandbox) as session:
        assert 2 == await session.count(START - DAY, START + DAY, of=SipRecord, where={"sip_group_name": "b"})
        assert 3 == await session.count(START - DAY, START + DAY, of=SipRecord)
        assert 0 == await session.count(START - DAY, START + DAY)


async def test_an_empty_range_is_zero_without_a_request(sandbox: Sandbox) -> None:
    """A range within one second counts nothing; times are rounded down."""
    sandbox.insert({"submitTime": START.isoformat()})
    async with session_on(sandbox) as session:
        assert 0 == await session.count(START, START + SECOND / 2)
        assert [] == sandbox.requests
        assert 1 == await session.count(START - SECOND / 2, START + SECOND / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": NOW.replace(tzinfo=None)}, "offset"),
        ({"start": NOW, "end": START}, "before"),
        ({"start": datetime.min.replace(tzinfo=UTC)}, "calendar"),
        ({"of": Window}, "VoiceRecord"),
        ({"where": {"phone_name": "x"}}, "unknown filter"),
        ({"expired": "ignore"}, "expired must be"),
    ],
)
async def test_wrong_arguments_request_nothing(arguments: dict[str, Any], message: str, sandbox: Sandbox) -> None:
    """A wrong argument is a ValueError that describes it."""
    async with session_on(sandbox) as session:
        with pytest.raises(ValueError, match=message):
            await session.count(**{"start": START, "end": NOW, **arguments})
    assert [] == sandbox.requests


async def test_expired_ranges_raise_an_error_or_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """At the retention, a count does what `records()` does."""
    with Sandbox(records=3_000, behaviour=Behaviour(retention=timedelta(days=20, hours=3))) as sandbox:
        async with session_on(sandbox) as session:
            with pytest.raises(TimeRangeError, match='pass expired="skip"') as caught:
                await session.count(NOW - 59 * DAY)
            assert caught.value.window
            assert caught.value.window.start == NOW - 59 * DAY
            assert len(sandbox.requests) < 10
            with caplog.at_level(logging.WARNING, "itnio_voice.windows"):
                counted = await session.count(NOW - 59 * DAY, NOW - HOUR, expired="skip")
            assert "older than the server's retention" in caplog.text
            assert 0 < counted == await number_read(session, NOW - 59 * DAY, NOW - HOUR, expired="skip")
            assert 0 == await session.count(NOW - 59 * DAY, NOW - 40 * DAY, expired="skip")


@pytest.mark.parametrize("ahead", [-7200, 0, 7200])
async def test_a_count_ends_with_the_last_second_on_the_servers_clock(ahead: int) -> None:
    """An end of None, or in the server's future, is the last second that is over on its clock."""
    at = datetime.now(UTC) + timedelta(seconds=ahead)
    with Sandbox(clock=lambda: time.time() + ahead) as sandbox:
        sandbox.insert(*({"submitTime": (at + timedelta(seconds=each)).isoformat()} for each in (-90, -60, 900)))
        for end in (None, NOW + 30 * DAY):
            async with session_on(sandbox) as session:
                assert 2 == await session.count(at - HOUR, end)
                assert 0 == await session.count(at + 300 * SECOND, end)


async def test_a_refused_key_is_one_error(sandbox: Sandbox) -> None:
    """An error of the API is raised as it is, not in a group."""
    async with VoiceSession(Credentials("x", "y"), base_url=sandbox.base_url) as session:
        with pytest.raises(AuthenticationError) as caught:
            await session.count(START, NOW)
    assert any("while counting" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.11])
async def test_a_cancelled_count_leaves_nothing_behind(seconds: float) -> None:
    """After a cancellation no request is in flight, and the session counts as before."""
    with Sandbox(records=3_000, behaviour=Behaviour(latency=0.04)) as sandbox:
        async with session_on(sandbox) as session:
            with anyio.move_on_after(seconds):
                await session.count(NOW - 60 * DAY)
            sent = len(sandbox.requests)
            await anyio.sleep(0.1)
            assert len(sandbox.requests) <= sent + 4  # those that were in flight
            sandbox.behaviour = Behaviour()
            assert 3_000 == await session.count(NOW - 61 * DAY)


# On another server


@attrs.define
class Server:
    """A server with records by their second, counted from START; `change` may change any answer."""

    times: list[int]
    change: Callable[["Answer"], None] = lambda _: None
    answers: list["Answer"] = attrs.field(factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a query."""
        body = json.loads(request.content)
        first, last = (
            int((datetime.fromisoformat(body["params"][name]) - START).total_seconds())
            for name in ("strTime", "endTime")
        )
        answer = Answer(self, len(self.answers) + 1, first, last, body["current"], body["size"])
        self.answers.append(answer)
        self.change(answer)
        return answer.response()

    def session(self) -> VoiceSession:
        """Return a session on the server."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.handle))
        return VoiceSession(CREDENTIALS, http_client=client, retry=Retry(attempts=1))


CREDENTIALS = Credentials("key", "secret")


@attrs.define
class Answer:
    """An answer of the server, which a test may change."""

    server: Server
    number: int
    first: int
    last: int
    current: int
    size: int
    status: str = "0"
    total: int | None = attrs.field(init=False)
    rows: list[dict[str, str]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.read()

    def read(self) -> None:
        """Read the server's records."""
        found = [(at, index) for index, at in enumerate(self.server.times) if self.first <= at <= self.last]
        self.total = len(found)
        self.rows = [
            {"voiceId": f"{at}-{index}", "submitTime": (START + at * SECOND).isoformat()}
            for at, index in sorted(found)[(self.current - 1) * self.size : self.current * self.size]
        ]

    @property
    def span(self) -> int:
        """The length of the window in seconds."""
        return self.last - self.first

    def response(self) -> httpx.Response:
        """Return the HTTP response."""
        data = {"total": self.total, "size": self.size, "current": self.current, "records": self.rows}
        headers = {"Date": format_datetime(datetime.now(UTC), usegmt=True)}
        return httpx.Response(200, json={"status": self.status, "reason": "", "data": data}, headers=headers)


def of_a_day(number: int, seed: int = 1) -> list[int]:
    """Return random seconds of a day from START."""
    chance = Random(seed)
    return [chance.randrange(86_400) for _ in range(number)]


def cap(most: int) -> Callable[[Answer], None]:
    """Return a change that caps totals."""

    def change(answer: Answer) -> None:
        answer.total = min(answer.total or 0, most)

    return change


def missing(answer: Answer) -> None:
    """Send no total."""
    answer.total = None


def too_low(answer: Answer) -> None:
    """Send a total that is lower than the number of rows."""
    answer.total = len(answer.rows) // 2


def nothing_there(answer: Answer) -> None:
    """Send a total for an answer without rows, if it is for a long window."""
    if answer.span > 43_200:
        answer.rows = []


def twice(answer: Answer) -> None:
    """List and count the first record twice."""
    if answer.current == 1 and answer.rows:
        answer.rows.insert(0, answer.rows[0])
        answer.total = (answer.total or 0) + 1
        del answer.rows[answer.size :]


def boundary_larger(answer: Answer) -> None:
    """Report more records for a second than for any window around it."""
    if answer.span == 1:
        answer.total = 60
        answer.rows = [{"voiceId": f"x{row}", "submitTime": START.isoformat()} for row in range(60)]


CHANGES: dict[str, Callable[[Answer], None]] = {
    "none": lambda _: None,
    "capped at 50": cap(50),
    "capped at 777": cap(777),
    "capped at 1,000": cap(1_000),
    "missing": missing,
    "too low": too_low,
    "nothing there": nothing_there,
}


@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 250, 1_010])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_total_that_its_answers_contradict_is_not_counted(name: str, number: int) -> None:
    """The number of records is right, or an error is raised, as when the records are read."""
    change = CHANGES[name]
    server = Server(of_a_day(number), change)
    async with server.session() as session:
        try:
            counted: int | str = await session.count(START - DAY, START + 2 * DAY)
        except ItnioError as error:
            counted = type(error).__name__
    async with Server(of_a_day(number), change).session() as session:
        try:
            read: int | str = await number_read(session, START - DAY, START + 2 * DAY)
        except ItnioError as error:
            read = type(error).__name__
    assert read == counted
    assert isinstance(read, str) or counted == number


async def test_a_record_that_is_listed_twice_is_read() -> None:
    """The server counts a record twice, `records()` returns it once."""
    async with Server(of_a_day(50), twice).session() as session:
        assert 50 == await session.count(START - DAY, START + 2 * DAY)


async def test_a_boundary_second_with_more_records_than_its_window_is_not_subtracted() -> None:
    """The number of records is never negative: the window is read."""
    async with Server(of_a_day(50), boundary_larger).session() as session:
        assert 50 == await session.count(START - DAY, START + 2 * DAY)


async def test_totals_that_were_wrong_once_are_not_used() -> None:
    """If the session knows that totals are wrong, nothing is counted by them."""
    requests = list[int]()
    for call in (VoiceSession.count, number_read):
        server = Server(of_a_day(250))
        async with server.session() as session:
            session._learned.trusts_totals = False
            assert 250 == await call(session, START - DAY, START + 2 * DAY)
        requests.append(len(server.answers))
    assert requests[0] == requests[1] + 1  # the one that shows the server's time


async def test_a_cap_that_equals_a_confirmed_total_is_found() -> None:
    """A window with exactly as many records as the server counts at most does not prove the same total of another."""
    server = Server([*of_a_day(777), *(at - 86_400 for at in of_a_day(900))], cap(777))
    async with server.session() as session:
        assert 777 == await session.count(START, START + DAY)
        assert 777 == session._learned.proven_total
        assert 1_677 == await session.count(START - DAY, START + DAY)


async def test_a_retention_that_passes_the_start_is_no_limit_of_the_length() -> None:
    """If a start expires between the answers for its boundary second and its window, no shorter windows are tried."""

    def change(answer: Answer) -> None:
        assert answer.number < 50
        expired = 648 + 2 * answer.number
        if answer.number > 1 and answer.first < expired:
            answer.status, answer.total, answer.rows = "-25", None, []

    times = of_a_day(100)
    server = Server(times, change)
    async with server.session() as session:
        counted = await session.count(START + 650 * SECOND, START + DAY, expired="skip")
        assert session._learned.span_limit.refused is None
    assert sum(each > 1_000 for each in times) <= counted <= sum(each > 650 for each in times)


async def test_totals_that_the_reading_refutes_are_read_as_well() -> None:
    """If a window that is read shows wrong totals, the windows that were counted are read too."""

    def change(answer: Answer) -> None:
        if answer.last > 0:
            too_low(answer)
        elif answer.span > 1:
            answer.total = max(0, (answer.total or 0) - 1)

    times = of_a_day(350)
    server = Server([*times, *(at - 30 * 86_400 for at in times)], change)
    async with server.session() as session:
        session._learned.proven_total = 10_000
        assert 700 == await session.count(START - 38 * DAY, START + 2 * DAY)
    assert not session._learned.trusts_totals


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_record_that_appears_in_the_boundary_second_does_not_change_the_count(number: int) -> None:
    """Where records may still appear, the boundary second is requested before and after its window."""
    recent = int((datetime.now(UTC) - START).total_seconds()) - 3_600
    boundary = recent - 1

    def change(answer: Answer) -> None:
        if answer.number == number:
            answer.server.times.append(boundary)
            answer.read()

    server = Server([boundary, boundary, recent + 5, recent + 6, recent + 7], change)
    async with server.session() as session:
        assert 3 == await session.count(START + recent * SECOND, START + (recent + 60) * SECOND)


async def test_old_records_that_expire_do_not_change_the_count() -> None:
    """Where records may expire, the boundary second is requested before and after its window."""
    old = -35 * 86_400  # 55 days ago

    def change(answer: Answer) -> None:
        if answer.number == 2:
            answer.server.times[:] = [at for at in answer.server.times if at > old]

    async with Server([old - 1, old, old + 5, old + 9], change).session() as session:
        assert 2 == await session.count(START + old * SECOND, START + (old + 60) * SECOND)


@pytest.mark.parametrize("longest", [86_400, 5 * 86_400, 40 * 86_400])
async def test_a_window_that_is_too_long_is_counted_in_parts(longest: int) -> None:
    """A refused length is remembered: the next count starts with one that is accepted."""

    def change(answer: Answer) -> None:
        if answer.span > longest:
            answer.status = "-25"

    server = Server([at * 39 for at in of_a_day(3_000)], change)
    async with server.session() as session:
        assert 3_000 == await session.count(START - 40 * DAY, START + 19 * DAY) + sum(
            at > 19 * 86_400 for at in server.times
        )
        refused = sum(answer.status == "-25" for answer in server.answers)
        await session.count(START - 40 * DAY, START + 19 * DAY)
        assert refused == sum(answer.status == "-25" for answer in server.answers)
    assert refused <= 10
    assert sum(answer.current > 1 for answer in server.answers) <= 3  # those that confirm a total


async def test_a_parameter_error_is_raised() -> None:
    """An error that no other window avoids is raised at once."""

    def change(answer: Answer) -> None:
        answer.status = "-22"

    server = Server(of_a_day(9), change)
    async with server.session() as session:
        with pytest.raises(ParameterError):
            await session.count(START - DAY, START + DAY)
    assert 1 == len(server.answers)


async def test_a_server_that_always_contradicts_itself_is_not_split_without_end() -> None:
    """A huge total with one row is read after some splits; the reading raises its error."""

    def change(answer: Answer) -> None:
        answer.total = 10**9 + 1
        answer.rows = answer.rows[:1]

    server = Server(of_a_day(500), change)
    async with server.session() as session:
        with pytest.raises(IncompleteWindowError):
            await session.count(START - 2 * DAY, START + 2 * DAY)
    assert len(server.answers) < 1_000


# Values


def page(rows: int, total: int | None, size: int = 100, current: int = 1) -> Page[VoiceRecord]:
    """Return a page with different records."""
    return Page(tuple(VoiceRecord(voice_id=str(row)) for row in range(rows)), total, size, current, None)


@pytest.mark.parametrize(
    ("rows", "total", "trusted"),
    [
        (0, 0, True),
        (1, 1, True),
        (99, 99, True),
        (100, 101, True),
        (100, 100, False),
        (100, 1_100, False),
        (99, 100, False),
        (5, 4, False),
        (0, 3, False),
        (3, 0, False),
        (3, None, False),
    ],
)
async def test_a_total_is_trusted_if_its_rows_do_not_contradict_it(rows: int, total: int | None, trusted: bool) -> None:
    """Its rows prove a total of less than a page; a larger one must be no multiple of the page size."""
    window = Window(START, START + DAY)
    assert (total if trusted else None) == trusted_total(page(rows, total), window, Learned())
    assert trusted_total(page(rows, total), window, Learned(trusts_totals=False)) is None


async def test_a_total_of_a_wider_window_is_not_trusted() -> None:
    """A total that was that of a clearly wider window may be a cap."""
    learned = Learned()
    assert 777 == trusted_total(page(100, 777), Window(START, START + DAY), learned)
    assert trusted_total(page(100, 777), Window(START, START + DAY / 2), learned) is None
    assert 3 == trusted_total(page(3, 3), Window(START, START + DAY), learned)
    assert 3 == trusted_total(page(3, 3), Window(START, START + DAY / 2), learned)


async def test_the_last_page_confirms_a_total() -> None:
    """Only a last page that is not full shows that there are no more records."""
    assert 8 == last_page(777, 100)
    assert is_confirmed(page(77, 777, current=8))
    assert not is_confirmed(page(100, 777, current=8))
    assert not is_confirmed(page(100, 800, current=8))
    assert not is_confirmed(page(0, 777, current=8))
    assert not is_confirmed(page(77, None, current=8))


async def test_halves_tile() -> None:
    """The halves of a window share no second and leave none out."""
    for seconds in (2, 3, 86_401):
        window = Window(START, START + seconds * SECOND)
        first, second = halves(window)
        assert (window.start, first.end, window.end) == (first.start, second.start, second.end)


async def test_only_recent_and_very_old_seconds_change() -> None:
    """Records appear within a day, and expire after the retention."""
    assert [False, True, True, False] == [is_settled(days * DAY) for days in (0.5, 2, 49, 51)]
