"""The ways to read a stream, its progress, and resuming."""

import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import attrs
import pytest

from itnio_voice import Checkpoint, Progress, ServerError, SipRecord, TransportError, VoiceSession, Window
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import session_on
from ..support.ticking import WAYS

pytestmark = pytest.mark.anyio

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=60)
MANY = pytest.mark.itnio_sandbox(records=3000, sip_records=100, start=START, end=END)


@pytest.fixture
async def session(itnio_sandbox: Sandbox) -> AsyncIterator[VoiceSession]:
    """Open a session on the sandbox."""
    async with session_on(itnio_sandbox) as session:
        yield session


@MANY
async def test_all_readings_return_the_same_records(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """By record, page or window, or as a list: the same records in the same order."""
    one_by_one = [record async for record in session.records(START, END)]
    by_page = [record async for page in session.records(START, END).pages() for record in page.records]
    by_window = [record async for batch in session.records(START, END).windows() for record in batch.records]
    at_once = await session.records(START, END).collect()

    assert one_by_one == by_page == by_window == at_once
    assert itnio_sandbox.ids(START, END) == {record.voice_id for record in at_once}


@MANY
async def test_pages_hold_only_new_records(session: VoiceSession) -> None:
    """A page has the server's numbers, and at least one record."""
    pages = [page async for page in session.records(START, END, page_size=50).pages()]

    assert all(0 < len(page.records) <= page.size == 50 for page in pages)
    assert 1 == pages[0].current
    assert all(page.total and page.pages == math.ceil(page.total / 50) for page in pages)


@MANY
async def test_windows_tile_the_range(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """Windows are returned oldest first, share a second, and cover the range; empty windows are included."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=3))
    batches = [batch async for batch in session.records(START, END).windows()]

    assert START == batches[0].window.start
    assert END == batches[-1].window.end
    for before, after in pairwise(batches):
        assert before.window.end - timedelta(seconds=1) == after.window.start
    assert (Window(START, END),) == batches[-1].checkpoint.done
    assert all(batch.total is not None and len(batch.records) <= batch.total for batch in batches)


async def test_a_range_without_records_completes(session: VoiceSession) -> None:
    """A range without records returns none, and one completed window."""
    start = START - timedelta(seconds=60)
    stream = session.records(start, START - timedelta(seconds=30), of=SipRecord)

    assert [] == await stream.collect()
    assert Progress(1, 1, 0, 0) == stream.progress
    assert 1 == len([batch async for batch in session.records(start, START, of=SipRecord).windows()])


async def test_a_range_in_the_future_is_empty(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """It is empty by the server's clock, which is requested first because this machine's may be wrong."""
    start = datetime.now(UTC) + timedelta(days=1)

    assert [] == await session.records(start, start + timedelta(days=1)).collect()
    assert 1 == len(itnio_sandbox.requests)


async def test_an_end_in_the_future_is_now(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """No window reaches beyond now; without an end it is the same."""
    later = datetime.now(UTC) + timedelta(days=20)
    for end in (later, None):
        found = await session.records(START, end).collect()
        assert 200 == len(found)
    bound = datetime.now(UTC) + timedelta(seconds=1)
    assert all(request.end is not None and request.end <= bound for request in itnio_sandbox.requests)


@pytest.mark.parametrize("first", ["records", "pages", "windows", "collect"])
async def test_a_stream_is_read_once(session: VoiceSession, first: str) -> None:
    """A second reading, of any kind, raises RuntimeError."""
    stream = session.records(START, END)
    readings: dict[str, Any] = {
        "records": stream.__aiter__,
        "pages": stream.pages,
        "windows": stream.windows,
        "collect": stream.collect,
    }
    reading = readings[first]()
    if first == "collect":
        await reading
    for again in ("records", "pages", "windows"):
        with pytest.raises(RuntimeError, match="has been read"):
            readings[again]()
    with pytest.raises(RuntimeError, match="has been read"):
        await stream.collect()


async def test_a_second_concurrent_reader_is_refused(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """A second task that reads the same stream receives an error; the first continues."""
    itnio_sandbox.behaviour = Behaviour(latency=0.1)
    reading: Any = session.records(START, END).__aiter__()
    async with anyio.create_task_group() as group:
        group.start_soon(reading.__anext__)
        await anyio.sleep(0.01)
        with pytest.raises(RuntimeError, match="another task"):
            await reading.__anext__()
    assert await reading.__anext__()


@pytest.mark.parametrize("reading", ["records", "pages", "windows"])
async def test_a_cancelled_reader_leaves_the_stream_to_others(
    session: VoiceSession, itnio_sandbox: Sandbox, reading: str, anyio_backend: str
) -> None:
    """After a cancellation of any kind, another task may continue reading."""
    stream: Any = session.records(START, END)
    steps = aiter(stream) if reading == "records" else getattr(stream, reading)()
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("hang"),))
    for way in WAYS[anyio_backend]:
        with pytest.raises(TimeoutError):
            await way(lambda: anext(steps), 1000)
    itnio_sandbox.behaviour = Behaviour()
    found: list[Any] = []

    async def read() -> None:
        async for item in steps:
            found.extend([item] if reading == "records" else item.records)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
    assert itnio_sandbox.ids(START, END) == {record.voice_id for record in found}
    assert 200 == len(found) == stream.progress.records


async def test_windows_refuse_a_limit(session: VoiceSession) -> None:
    """A limit could end inside a window."""
    with pytest.raises(ValueError, match="limit"):
        session.records(START, END, limit=5).windows()


@MANY
async def test_progress_ends_at_the_expected_number(session: VoiceSession) -> None:
    """`expected` is None before the first answer; at the end, all numbers agree."""
    stream = session.records(START, END)

    assert Progress(0, 0, 0, None) == stream.progress
    seen = []
    async for _ in stream:
        seen.append(stream.progress)
    assert list(range(1, 3001)) == [progress.records for progress in seen]
    assert all(progress.windows_done <= progress.windows_planned for progress in seen)
    assert all(progress.expected is not None and 2000 < progress.expected < 4000 for progress in seen)
    assert 3000 == stream.progress.records == stream.progress.expected
    assert stream.progress.windows_done == stream.progress.windows_planned > 0


@MANY
@pytest.mark.parametrize("of", ["group", "sip"])
async def test_resuming_after_any_window_returns_each_record_once(
    session: VoiceSession, itnio_sandbox: Sandbox, of: Any
) -> None:
    """A stream stopped after any window and resumed from its checkpoint's text returns each record exactly once."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=7), ends="()")
    kind: Any = {"group": {}, "sip": {"of": SipRecord}}[of]
    checkpoint = None
    found: list[str | None] = []
    for _ in range(30):
        stream = session.records(START, END, resume=checkpoint, **kind)
        batch = await anext(stream.windows(), None)
        if batch is None:
            break
        found += [record.voice_id for record in batch.records]
        checkpoint = Checkpoint.parse(str(batch.checkpoint))

    assert len(found) == len(set(found))
    assert itnio_sandbox.ids(START, END, kind=of) == set(found)


@MANY
async def test_a_window_counts_when_the_next_record_is_requested(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """A window is in the checkpoint when the caller requests the next record after its last one, not before."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5))
    returned: list[str | None] = []
    stream = session.records(START, END)
    async for record in stream:
        returned.append(record.voice_id)
        if len(returned) == 1000:
            break
    resumed = session.records(START, END, resume=stream.checkpoint)
    rest = [record.voice_id async for record in resumed]

    assert itnio_sandbox.ids(START, END) == {*returned, *rest}
    assert stream.checkpoint.done
    assert len(rest) < 3000


def break_at(number: int) -> Callable[[Sandbox, int], None]:
    """Return a hook that makes all requests fail from this one on."""

    def fail(sandbox: Sandbox, current: int) -> None:
        if current == number:
            sandbox.behaviour = attrs.evolve(sandbox.behaviour, faults=(Fault("system_error"),))

    return fail


@MANY
@pytest.mark.parametrize("requests", [1, 8, 15, 25])
async def test_collect_that_fails_completes_no_window(
    session: VoiceSession, itnio_sandbox: Sandbox, requests: int
) -> None:
    """After an error, checkpoint and progress are empty, and a resumed stream returns all records."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5))
    itnio_sandbox.on_request = break_at(requests)
    stream = session.records(START, END)
    with pytest.raises(ServerError):
        await stream.collect()
    progress, itnio_sandbox.behaviour = stream.progress, Behaviour()

    assert () == stream.checkpoint.done
    assert (0, 0) == (progress.records, progress.windows_done)
    with pytest.raises(RuntimeError, match=r"with resume=stream\.checkpoint to continue"):
        await stream.collect()
    resumed = session.records(START, END, resume=stream.checkpoint)
    assert itnio_sandbox.ids(START, END) == {record.voice_id for record in await resumed.collect()}
    assert (Window(START, END),) == resumed.checkpoint.done
    assert 3000 == resumed.progress.records


@MANY
@pytest.mark.parametrize("requests", [1, 8, 15, 25])
async def test_collect_that_is_cancelled_completes_no_window(
    session: VoiceSession, itnio_sandbox: Sandbox, requests: int
) -> None:
    """After a cancellation, checkpoint and progress are empty as well."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5), latency=0.005)
    stream = session.records(START, END)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.collect)
        while len(itnio_sandbox.requests) < requests:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()

    assert () == stream.checkpoint.done
    assert (0, 0) == (stream.progress.records, stream.progress.windows_done)


@MANY
async def test_a_failed_collect_keeps_the_resumed_checkpoint(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """A resumed stream whose `collect` fails keeps the checkpoint that it was resumed from."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5))
    batch = await anext(session.records(START, END).windows())
    itnio_sandbox.reset_requests()
    itnio_sandbox.on_request = break_at(15)
    stream = session.records(START, END, resume=batch.checkpoint)
    with pytest.raises(ServerError):
        await stream.collect()
    itnio_sandbox.behaviour = Behaviour()

    assert batch.checkpoint == stream.checkpoint
    rest = await session.records(START, END, resume=stream.checkpoint).collect()
    assert itnio_sandbox.ids(START, END) == {record.voice_id for record in (*batch.records, *rest)}


@MANY
async def test_a_finished_stream_resumes_to_nothing(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """With all windows completed, no record is returned, and no request is sent."""
    stream = session.records(START, END)
    await stream.collect()
    itnio_sandbox.reset_requests()

    assert [] == await session.records(START, END, resume=stream.checkpoint).collect()
    assert 0 == len(itnio_sandbox.requests)


@MANY
async def test_a_stream_continues_after_an_error(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """After an error, progress and checkpoint are available, and the next call continues without loss."""
    found: list[str | None] = []
    stream = session.records(START, END)
    reading = stream.__aiter__()
    failures = 0
    while True:
        if len(found) == 500 and not failures:
            itnio_sandbox.behaviour = Behaviour(faults=(Fault("system_error", times=5 * 12),))
        try:
            found.append((await reading.__anext__()).voice_id)
        except ServerError:
            failures += 1
            assert len(found) == stream.progress.records
        except StopAsyncIteration:
            break

    assert failures
    assert len(found) == len(set(found))
    assert itnio_sandbox.ids(START, END) == set(found)


@MANY
async def test_an_error_at_the_boundary_second_narrows_no_window(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """A stream whose first two requests failed starts again at the next call, with windows of the same width."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("system_error", times=10),))
    reading = session.records(START, END).__aiter__()
    with pytest.raises(ServerError):
        await reading.__anext__()
    itnio_sandbox.reset_requests()

    assert 3000 == len([await reading.__anext__(), *[record async for record in reading]])
    assert len(itnio_sandbox.requests) < 40


async def test_a_short_stream_is_not_delayed_by_a_long_one(itnio_sandbox: Sandbox) -> None:
    """A long stream queues at most `concurrency` requests at a time, so a short one is answered soon."""
    itnio_sandbox.behaviour = Behaviour(latency=0.02)
    async with session_on(itnio_sandbox, concurrency=2) as session:
        async with anyio.create_task_group() as group:
            group.start_soon(session.records(START, END, page_size=2).collect)
            while len(itnio_sandbox.requests) < 10:
                await anyio.sleep(0.01)
            before = len(itnio_sandbox.requests)
            await session.records(START, END, limit=1, page_size=1).collect()
            between = len(itnio_sandbox.requests) - before
            group.cancel_scope.cancel()
        assert between <= 12
        assert itnio_sandbox.most_in_flight <= 2


async def test_a_refused_connection_is_a_transport_error() -> None:
    """A refused connection is a TransportError that names the request, without the signature."""
    with Sandbox() as sandbox:
        session = session_on(sandbox)
    with pytest.raises(TransportError, match="POST /recordGroupQuery: ConnectError") as caught:
        await session.records(START, END).collect()
    await session.aclose()

    assert caught.value.__cause__ is None is caught.value.__context__


async def test_unread_is_what_neither_the_checkpoint_nor_skipped_covers(itnio_sandbox: Sandbox) -> None:
    """Before reading, `unread` is the range in whole seconds; afterwards, the part in the server's future."""
    async with session_on(itnio_sandbox) as session:
        future = session.records(START, END + timedelta(days=30))
        assert (Window(START, END + timedelta(days=30)),) == future.unread
        await future.collect()
        past = session.records(START, END - timedelta(hours=1))
        await past.collect()
        empty = session.records(START, START + timedelta(milliseconds=5))
        expired = session.records(START - timedelta(days=30), START + timedelta(days=9), expired="skip")
        await expired.collect()

    assert expired.skipped
    assert () == expired.unread
    assert [END + timedelta(days=30)] == [part.end for part in future.unread]
    assert future.checkpoint.done[-1].end == future.unread[0].start
    assert () == past.unread == empty.unread
