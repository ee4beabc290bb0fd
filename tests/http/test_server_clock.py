"""The correction of this machine's clock by the server's `Date`, and its limits."""

import email.utils
import math
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import Credentials, Retry, TimestampExpiredError, VoiceSession
from itnio_voice._http.credentials import sign
from itnio_voice._http.server_clock import FARTHEST, ServerClock

NOW = 1_790_000_000.0
END = datetime.fromtimestamp(NOW, UTC)
START = END.replace(hour=0)
DAY = 86400
WRONG_DATES = [
    pytest.param(text, id=str(text))
    for text in (
        None,
        "",
        "soon",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 0001 00:00:00",
        "Mon, 01 Jan 2035 00:00:00 GMT",
        "Thu, 01 Jan 99999999999 00:00:00 GMT",
        email.utils.formatdate(NOW - 5 * DAY, usegmt=True),
        email.utils.formatdate(NOW - FARTHEST - 1, usegmt=True),
        email.utils.formatdate(NOW + FARTHEST + 1, usegmt=True),
    )
]


def dated(seconds: float, **headers: str) -> dict[str, str]:
    """Return the headers of an answer whose `Date` is some seconds after NOW."""
    return {"date": email.utils.formatdate(NOW + seconds, usegmt=True)} | headers


@pytest.mark.parametrize(
    ("ahead", "sent", "expected"),
    [
        (0, -0.1, 0),
        (-1, -0.1, 0),
        (1, -0.1, 0),
        (-2, -0.1, 0),
        (-3, -0.1, -3),
        (2, -0.1, 2),
        (-3, -30, 0),
        (-31, -30, 0),
        (-33, -30, -33),
        (7200, -0.1, 7200),
        (-FARTHEST, -0.1, -FARTHEST),
        (FARTHEST, -0.1, FARTHEST),
    ],
)
def test_a_date_that_contradicts_the_offset_changes_it(ahead: float, sent: float, expected: float) -> None:
    """The offset changes if no moment between sending and receiving agrees with it, within a second."""
    clock = ServerClock()

    assert (expected != 0) == clock.observe(dated(ahead), NOW + sent, NOW)
    assert (expected, 0.0, True) == (clock.offset, clock.signing, clock.known)


@given(st.floats(-7200, 7200), st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1), st.floats(0, 30)), min_size=2))
def test_the_offset_is_stable(ahead: float, answers: list[tuple[float, float, float]]) -> None:
    """With a steady clock it changes once, and once more for each second that an answer takes.

    Each change is to a time that the server's clock has reached. An answer shows the offset to within a second plus its
    own duration; further changes only raise the offset, each by more than a second.
    """
    clock, now, changes = ServerClock(), NOW, 0
    for seconds, written, pause in answers:
        sent, received = now, now + seconds
        date = sent + written * seconds + ahead
        before = clock.offset
        changes += clock.observe({"date": email.utils.formatdate(date, usegmt=True)}, sent, received)
        if clock.offset != before:
            assert clock.offset <= ahead + 1e-6
        now = received + pause

    assert changes <= 1 + math.ceil(max(seconds for seconds, _, _ in answers))


@given(
    st.floats(-7200, 7200) | st.floats(-3, 3),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1), st.floats(0, 30)), min_size=1),
)
def test_the_smallest_offset_is_never_ahead(ahead: float, answers: list[tuple[float, float, float]]) -> None:
    """From the first answer on, the server's clock has reached the time by the smallest offset."""
    clock, now = ServerClock(), NOW
    for seconds, written, pause in answers:
        sent, received = now, now + seconds
        date = sent + written * seconds + ahead
        clock.observe({"date": email.utils.formatdate(date, usegmt=True)}, sent, received)
        assert ahead - seconds - 1 - 1e-5 <= clock.least <= ahead + 1e-5
        now = received + pause


def test_the_smallest_offset_follows_a_clock_that_is_set_back() -> None:
    """A `Date` earlier than the smallest offset allows replaces it."""
    clock = ServerClock()
    least = []
    for ahead in (0.0, 3.0, 2.0, 1.0, -60.0):
        clock.observe(dated(ahead), NOW - 0.1, NOW)
        least.append(clock.least)

    assert [0.0, 3.0, 3.0, 1.0, -60.0] == least


@pytest.mark.parametrize("text", WRONG_DATES)
def test_an_unusable_date_changes_nothing(text: str | None) -> None:
    """A missing date, and one that is days off, are ignored; the error names both clocks' times."""
    clock = ServerClock()
    headers = {} if text is None else {"date": text}

    assert not clock.observe(headers, NOW - 1, NOW)
    assert not clock.correct(headers, 0.0, NOW)
    assert ServerClock() == clock
    assert "this machine says 2026-09-21T14:13:20+00:00: set this machine's clock" in clock.advice(headers, NOW)


@pytest.mark.parametrize("age", ["1", "7200", "x", ""])
def test_a_cached_date_is_not_used(age: str) -> None:
    """An answer from a cache has the date at which it was stored."""
    clock = ServerClock()

    assert not clock.observe(dated(-7200, age=age), NOW, NOW)
    assert not clock.correct(dated(-7200, age=age), 0.0, NOW)
    assert not clock.known
    assert clock.observe(dated(-7200, age="0"), NOW, NOW)


def test_a_refused_timestamp_is_corrected() -> None:
    """A request is signed again if the offset differs from the one that it was signed with."""
    clock = ServerClock()

    assert clock.correct(dated(7200), 0.0, NOW)
    assert 7200 == clock.signing == clock.offset
    assert not clock.correct(dated(7200), 7200.0, NOW)
    assert clock.correct({}, 0.0, NOW), "another call has learned it meanwhile"


Answers = list[tuple[str, dict[str, str]]]


def session_with(answers: Answers, sent: list[int] | None = None, **options: Any) -> VoiceSession:
    """Return a session at NOW whose server returns statuses and headers in turn, the last one repeatedly."""

    def answer(request: httpx.Request) -> httpx.Response:
        if sent is not None:
            sent.append(int(request.headers["timestamp"]))
        status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        data = {"total": 0, "records": []}
        return httpx.Response(200, json={"status": status, "reason": "why", "data": data}, headers=headers)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    session = VoiceSession(Credentials("key", "secret"), http_client=client, **options)
    session._transport.clock = lambda: NOW
    return session


@pytest.mark.anyio
@pytest.mark.parametrize("text", WRONG_DATES)
async def test_a_refusal_with_an_unusable_date_is_raised(text: str | None) -> None:
    """-16 is raised after one request, with advice; the clock stays this machine's, and the range is unchanged."""
    sent: list[int] = []
    session = session_with([("-16", {} if text is None else {"Date": text})], sent)
    message = (
        r"-16: why \(the server (says .*|does not say its time), this machine says 2026-\S*: set this machine's clock\)"
    )
    with pytest.raises(TimestampExpiredError, match=message):
        await session.page(START, END)

    transport = session._transport
    assert [int(NOW)] == sent
    assert END == datetime.fromtimestamp(transport.now(), UTC)
    assert not transport.clock_known
    assert str(int(NOW)) == sign(transport.credentials, transport.now()).timestamp


@pytest.mark.anyio
async def test_now_follows_the_date_of_a_success() -> None:
    """The clock is corrected without a -16 too; accepted timestamps keep their offset."""
    sent: list[int] = []
    session = session_with([("0", dated(-60)), ("0", dated(-60)), ("0", dated(600))], sent)
    transport = session._transport

    assert (NOW, False) == (transport.now(), transport.clock_known)
    times = []
    for _ in range(3):
        await session.page(START, END)
        times.append(transport.now() - NOW)

    assert transport.clock_known
    assert [-60, -60, 600] == times
    assert [int(NOW)] * 3 == sent


@pytest.mark.anyio
async def test_the_date_of_a_refusal_is_used_too() -> None:
    """The vendor's refusal has the server's date; an answer of an intermediary does not count."""
    session = session_with([("-25", dated(-60))])
    with pytest.raises(Exception, match="-25"):
        await session.page(START, END)
    assert NOW - 60 == session._transport.now()

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers=dated(-60))

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    other = VoiceSession(Credentials("key", "secret"), http_client=client, retry=Retry(attempts=1))
    with pytest.raises(Exception, match="503"):
        await other.page(START, END)
    assert not other._transport.clock_known


@pytest.mark.anyio
async def test_a_proxy_with_another_clock_does_not_break_signing() -> None:
    """A `Date` that differs from the clock that checks signatures does not change accepted timestamps."""
    sent: list[int] = []
    session = session_with([("0", dated(600)), ("0", dated(600))], sent)
    await session.page(START, END)
    await session.page(START, END)

    assert [int(NOW)] * 2 == sent
