"""Merged streams: complete, read ahead by a bounded number of items, and cleaned up."""

import asyncio
import gc
import math
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from itnio_voice import AuthenticationError, Credentials, VoiceSession, merge
from itnio_voice.sandbox import Behaviour, Sandbox

from ..support.ticking import TIMEOUTS, attempt, run_ticking
from ..walk.test_cancellation import HANG, tasks, until

pytestmark = pytest.mark.anyio

END = datetime(2026, 11, 1, tzinfo=UTC)
START = END - timedelta(days=50)
ACCOUNTS = {f"key-{number}": f"secret-{number}" for number in range(6)}


class Counting:
    """A stream of numbers that counts the requested items, and can fail after its last one."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.count = count
        self.failure = failure
        self.returned = 0

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        await anyio.lowlevel.checkpoint()
        if self.returned < self.count:
            self.returned += 1
            return self.returned
        if self.failure:
            raise self.failure
        raise StopAsyncIteration


async def read_all(merged: Any) -> Counter[Any]:
    """Read all items of the merged streams."""
    async with merged:
        return Counter([item async for item in merged])


# Items


async def test_every_item_is_returned_once() -> None:
    """Each item of each stream is returned once, under its stream's name and in its stream's order."""
    async with merge({"a": Counting(300), 7: Counting(2), None: Counting(0)}, buffer=5) as merged:
        items = [item async for item in merged]

        assert [] == [item async for item in merged]

    assert list(range(1, 301)) == [number for name, number in items if name == "a"]
    assert [1, 2] == [number for name, number in items if name == 7]
    assert 302 == len(items)


async def test_no_streams_have_no_items() -> None:
    """Merging no streams returns no items."""
    assert Counter() == await read_all(merge({}))


@pytest.fixture
async def many() -> AsyncIterator[Sandbox]:
    """Run a sandbox with several accounts, each with its own records."""
    # Its clock is days off this machine's, beyond the correction's bounds: it accepts any timestamp.
    any_time = Behaviour(timestamp_tolerance=math.inf)
    async with Sandbox(
        records=250, accounts=ACCOUNTS, start=START, end=END, clock=END.timestamp, behaviour=any_time
    ) as sandbox:
        yield sandbox


async def test_accounts_share_a_client(many: Sandbox) -> None:
    """Sessions of several accounts over one HTTP client return each record of each account once."""
    async with httpx2.AsyncClient() as client:
        sessions = {
            key: VoiceSession(Credentials(key, secret), base_url=many.base_url, http_client=client)
            for key, secret in ACCOUNTS.items()
        }
        async with merge({key: session.records(START, END) for key, session in sessions.items()}) as merged:
            found = [(key, record.voice_id) async for key, record in merged]

    assert {key: many.ids(account=key) for key in ACCOUNTS} == {
        key: {voice_id for name, voice_id in found if name == key} for key in ACCOUNTS
    }
    assert 250 * len(ACCOUNTS) == len(found)
    await until(lambda: many.connections == 0)


async def test_windows_can_be_merged(itnio_sandbox: Sandbox) -> None:
    """Anything that `async for` reads can be merged: windows, each with its checkpoint."""
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url) as session:
        stream = session.records(datetime.now(UTC) - timedelta(days=40))
        async with merge({"only": stream.windows()}, buffer=1) as merged:
            batches = [batch async for _, batch in merged]

    found = [record.voice_id for batch in batches for record in batch.records]
    assert Counter(itnio_sandbox.ids(datetime.now(UTC) - timedelta(days=40))) == Counter(found)
    assert stream.checkpoint == batches[-1].checkpoint


# A slow consumer


async def test_a_slow_consumer_pauses_reading_ahead() -> None:
    """At most `buffer` items, and one more for each stream, are read ahead."""
    streams = {name: Counting(1000) for name in "abc"}
    async with merge(streams, buffer=10) as merged:
        taken = 0
        async for _ in merged:
            taken += 1
            await anyio.wait_all_tasks_blocked()

            assert taken + 10 <= sum(stream.returned for stream in streams.values()) <= taken + 10 + len(streams)
            if taken == 12:
                break


class WaitingForAll(Counting):
    """A stream of numbers that returns its first one when all streams have been requested."""

    def __init__(self, count: int, waiting: list[anyio.Event]) -> None:
        super().__init__(count)
        self.waiting = waiting

    async def __anext__(self) -> int:
        if self.waiting:
            self.waiting.pop().set()
            while self.waiting:
                await self.waiting[-1].wait()
        return await super().__anext__()


async def test_streams_are_read_concurrently() -> None:
    """Each stream is requested before any has returned an item."""
    waiting = [anyio.Event() for _ in range(6)]
    streams = {name: WaitingForAll(3, waiting) for name in range(6)}
    with anyio.fail_after(HANG):
        found = await read_all(merge(streams))

    assert 6 * 3 == sum(found.values())


# Consumers that are cancelled


class Delayed(Counting):
    """A stream of numbers that takes up to a few turns of the event loop for an item."""

    def __init__(self, count: int, chance: Random) -> None:
        super().__init__(count)
        self.chance = chance

    async def __anext__(self) -> int:
        for _ in range(self.chance.choice([0, 0, 1, 2, 5, 20])):
            await anyio.lowlevel.checkpoint()
        if self.returned == self.count:
            raise StopAsyncIteration
        self.returned += 1
        return self.returned


def test_cancelled_calls_lose_no_item(anyio_backend: str, record_property: Any) -> None:
    """Each item is returned once and in order, at whatever point and in whatever way calls are cancelled."""
    chance = Random(anyio_backend)
    counts = Counter(timeouts=0, items=0, lost=0, doubled=0)

    async def main() -> None:
        while counts["timeouts"] < 10 * TIMEOUTS:
            await read(chance.choice([1, 2, 5]), 100)

    async def read(streams: int, length: int) -> None:
        found: dict[int, list[int]] = {name: [] for name in range(streams)}
        delayed = {name: Delayed(length, chance) for name in found}
        async with merge(delayed, buffer=chance.choice([1, 2, 10, 1000])) as merged:
            while True:
                try:
                    item = await attempt(lambda: anext(merged, None), anyio_backend, chance, 12)
                except TimeoutError:
                    counts["timeouts"] += 1
                    continue
                if item is None:
                    break
                found[item[0]].append(item[1])
        for numbers in found.values():
            assert sorted(numbers) == numbers
            counts["lost"] += length - len(set(numbers))
            counts["doubled"] += len(numbers) - len(set(numbers))
        counts["items"] += streams * length

    run_ticking(main, anyio_backend, anyio_backend)
    for name, count in counts.items():
        record_property(name, count)

    assert (0, 0) == (counts["lost"], counts["doubled"])


def test_cancelled_workers_lose_no_item(anyio_backend: str) -> None:
    """Several tasks may read: each item goes to one of them, also while others are cancelled, and no task hangs."""
    chance = Random(anyio_backend)
    timeouts = 0

    async def main() -> None:
        while timeouts < TIMEOUTS:
            found: list[Any] = []
            async with (
                merge({name: Delayed(50, chance) for name in "abc"}, buffer=chance.choice([1, 5])) as merged,
                anyio.create_task_group() as workers,
            ):
                for _ in range(4):
                    workers.start_soon(work, merged, found)

            assert dict.fromkeys(((name, number) for name in "abc" for number in range(1, 51)), 1) == Counter(found)

    async def work(merged: Any, found: list[Any]) -> None:
        nonlocal timeouts
        while True:
            try:
                item = await attempt(lambda: anext(merged, None), anyio_backend, chance, 40)
            except TimeoutError:
                timeouts += 1
                continue
            if item is None:
                return
            found.append(item)

    run_ticking(main, anyio_backend, anyio_backend)


async def test_an_item_is_returned_as_soon_as_it_is_read() -> None:
    """A waiting consumer receives an item before its stream is read ahead to the buffer's limit."""
    stream = Counting(1000)
    async with merge({"a": stream}, buffer=500) as merged:
        await anext(merged)
        assert stream.returned < 5


# Readers that are cancelled


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_cancelled_scope_is_an_error_for_the_consumer(on_error: Any) -> None:
    """A consumer that outlives the cancelled scope receives the items read so far, then an error instead of the end."""
    items = []
    with anyio.CancelScope() as scope:
        async with merge({"a": Counting(5), "b": Counting(10**9)}, buffer=20, on_error=on_error) as merged:
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            with anyio.CancelScope(shield=True):
                with pytest.raises((RuntimeError, ExceptionGroup)) as caught:
                    async for item in merged:
                        items.append(item)
                assert [] == [item async for item in merged]

    assert {("a", number) for number in range(1, 6)} < set(items)
    error = caught.value.exceptions[0] if on_error == "collect" else caught.value  # type: ignore[attr-defined]
    assert "the reading of this stream was cancelled before its end" == str(error)
    assert ["while reading 'b'"] == error.__notes__
    assert {"b": error} == merged.failures


@pytest.mark.parametrize("on_error", ["raise", "collect"])
@pytest.mark.parametrize("chosen", [slice(None), slice(1), slice(1, 2), slice(2, 3)])
def test_readers_cancelled_by_others_are_an_error_for_the_consumer(on_error: Any, chosen: slice) -> None:
    """If an asyncio program cancels tasks that it does not own, the consumer receives an error instead of the end."""

    async def main() -> None:
        async with merge({"a": Counting(500), "b": Counting(500)}, buffer=20, on_error=on_error) as merged:
            await anyio.wait_all_tasks_blocked()
            others = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=asyncio.Task.get_name)
            assert 3 == len(others)
            for task in others[chosen]:
                task.cancel()
            with pytest.raises((RuntimeError, ExceptionGroup)):
                async for _ in merged:
                    await asyncio.sleep(0)

            assert merged.failures

    asyncio.run(main())


async def test_leaving_is_an_error_for_a_waiting_task() -> None:
    """A task that still waits for an item when the merge is left receives an error instead of the end."""
    errors = []

    async def wait(merged: Any) -> None:
        with pytest.raises(RuntimeError, match="cancelled before its end") as caught:
            await anext(merged)
        errors.append(caught.value)

    async with anyio.create_task_group() as group, merge({"a": Hanging()}) as merged:
        group.start_soon(wait, merged)
        await anyio.wait_all_tasks_blocked()

    assert 1 == len(errors)


class Hanging(Counting):
    """A stream whose first item never arrives."""

    def __init__(self) -> None:
        super().__init__(0)

    async def __anext__(self) -> int:
        await anyio.sleep_forever()
        raise AssertionError


# Failures


async def test_the_first_failure_is_raised_unchanged() -> None:
    """The first failure stops the other streams, and is raised unchanged, with a note that names the stream."""
    other = Counting(10**9)
    failure = ValueError("broken")
    async with merge({"good": other, "bad": Counting(3, failure)}, buffer=20) as merged:
        with pytest.raises(ValueError, match="broken") as caught:
            async for _ in merged:
                await anyio.lowlevel.checkpoint()
        returned = other.returned
        await anyio.wait_all_tasks_blocked()

        assert returned == other.returned
        assert [] == [item async for item in merged]
    assert failure is caught.value
    assert ["while reading 'bad'"] == failure.__notes__


async def test_a_failure_does_not_cancel_the_callers_code() -> None:
    """A failure is raised at the next request for an item: it does not cancel the caller's own code."""
    done = False
    with pytest.raises(ValueError, match="broken"):
        async with merge({"bad": Counting(1, ValueError("broken"))}) as merged:
            async for _ in merged:
                await anyio.sleep(0.02)
                done = True

    assert done


async def test_collect_raises_all_failures_as_a_group() -> None:
    """With "collect", the other streams are read to their end, then all failures are raised as a group."""
    streams = {"one": Counting(3, ValueError("1")), "good": Counting(500), "two": Counting(9, KeyError("2"))}
    items = []
    async with merge(streams, buffer=2, on_error="collect") as merged:
        with pytest.raises(ExceptionGroup, match=r"2 of 3 streams failed") as caught:
            async for item in merged:
                items.append(item)

    assert Counter({"one": 3, "good": 500, "two": 9}) == Counter(name for name, _ in items)
    assert {"while reading 'one'", "while reading 'two'"} == {
        note for failure in caught.value.exceptions for note in failure.__notes__
    }
    assert {"one", "two"} == merged.failures.keys()
    assert set(caught.value.exceptions) == set(merged.failures.values())


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_wrong_secret_fails_all_or_its_own_stream(many: Sandbox, on_error: Any) -> None:
    """One account's wrong secret ends the merge, or only its own stream."""
    sessions = {
        key: VoiceSession(Credentials(key, "wrong" if key == "key-3" else secret), base_url=many.base_url)
        for key, secret in ACCOUNTS.items()
    }
    found: Counter[str] = Counter()
    with pytest.raises((AuthenticationError, ExceptionGroup)) as caught:
        async with merge(
            {key: session.records(START, END) for key, session in sessions.items()}, on_error=on_error
        ) as merged:
            async for key, _ in merged:
                found[key] += 1
    for session in sessions.values():
        await session.aclose()

    error = caught.value if on_error == "raise" else caught.value.exceptions[0]  # type: ignore[attr-defined]
    assert isinstance(error, AuthenticationError)
    assert "while reading 'key-3'" in error.__notes__
    if on_error == "collect":
        assert dict.fromkeys(ACCOUNTS.keys() - {"key-3"}, 250) == found


async def test_one_stream_under_two_names_is_an_error(itnio_sandbox: Sandbox) -> None:
    """A stream is read once: merging it under two names is an error that says so, and its items are not split."""
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url) as session:
        stream = session.records(datetime.now(UTC) - timedelta(days=1))
        with pytest.raises(RuntimeError, match="has been read"):
            await read_all(merge({"a": stream, "b": stream}))


# Cleanup


async def leave(_: anyio.CancelScope) -> None:
    """Leave the loop."""


async def fail(_: anyio.CancelScope) -> None:
    """Raise an error of the caller's own."""
    message = "the caller's own"
    raise LookupError(message)


async def hang(scope: anyio.CancelScope) -> None:
    """Wait until the scope is cancelled, as by a timeout."""
    scope.cancel()
    await anyio.sleep_forever()


@pytest.mark.parametrize("end", [leave, fail, hang])
async def test_leaving_early_leaves_nothing_behind(many: Sandbox, end: Any) -> None:
    """After a break, an exception (raised unchanged) or a timeout, no task, request or connection is left."""
    many.behaviour = Behaviour(latency=0.01, timestamp_tolerance=math.inf)
    before = tasks()
    sessions = [
        VoiceSession(Credentials(key, secret), base_url=many.base_url, concurrency=2)
        for key, secret in ACCOUNTS.items()
    ]
    with anyio.CancelScope() as scope:
        try:
            async with merge({s: s.records(START, END, page_size=20) for s in sessions}, buffer=30) as merged:
                async for _ in merged:
                    await end(scope)
                    break
        except LookupError as error:
            assert "the caller's own" in str(error)  # noqa: PT017 -- not in a group
    await until(lambda: many.in_flight == 0)

    assert before == tasks()
    assert scope.cancelled_caught == (end is hang)
    sent, requests = len(many.requests), -1
    while requests != len(many.requests):  # on a busy machine, the server reads the last ones only now
        requests = len(many.requests)
        await anyio.sleep(0.05)
    assert requests <= sent + 2 * len(sessions)
    await anyio.sleep(0.05)
    assert requests == len(many.requests)
    for session in sessions:
        await session.aclose()
    await until(lambda: many.connections == 0)
    gc.collect()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("pause", [0.0, 0.5])
async def test_a_cancelled_task_leaves_nothing_behind(many: Sandbox, pause: float) -> None:
    """A task that asyncio cancels, while it waits for an item or elsewhere, ends and leaves nothing behind."""
    many.behaviour = Behaviour(latency=0.05, timestamp_tolerance=math.inf)
    before = tasks()
    async with VoiceSession(Credentials("key-0", "secret-0"), base_url=many.base_url) as session:
        begun = asyncio.Event()

        async def read() -> None:
            async with merge({"a": session.records(START, END, page_size=10)}, buffer=5) as merged:
                async for _ in merged:
                    begun.set()
                    await asyncio.sleep(pause)

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: many.in_flight == 0)

        assert before == tasks()


async def test_a_merge_that_is_never_entered_causes_no_warning() -> None:
    """A merge that is never entered causes no warning."""
    merge({"a": Counting(1)})
    gc.collect()


# Wrong use


@pytest.mark.parametrize(
    ("streams", "options", "text"),
    [
        ({}, {"buffer": 0}, "buffer must be a whole number from 1, not 0"),
        ({}, {"buffer": 1.5}, "not 1.5"),
        ({}, {"on_error": "ignore"}, 'on_error must be "raise" or "collect", not \'ignore\''),
        ({"a": [1]}, {}, r"'a' must be a stream to read with async for, not \[1\]"),
    ],
)
async def test_wrong_arguments_raise_at_the_call(streams: Any, options: Any, text: str) -> None:
    """Wrong arguments raise at the call."""
    with pytest.raises(ValueError, match=text):
        merge(streams, **options)


async def test_reading_outside_is_an_error() -> None:
    """A merge is entered once and read inside; reading it outside is an error, not an empty end."""
    merged = merge({"a": Counting(1)})
    with pytest.raises(RuntimeError, match="inside `async with`"):
        await anext(merged)
    assert Counter({("a", 1): 1}) == await read_all(merged)
    with pytest.raises(RuntimeError, match="inside `async with`"):
        await anext(merged)
    with pytest.raises(RuntimeError, match="already entered"):
        await read_all(merged)
