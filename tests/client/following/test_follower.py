"""Following: each record once, as it becomes visible, on a server that changes while it is read."""

import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from itnio_voice import (
    AuthenticationError,
    Checkpoint,
    FollowCheckpoint,
    RecordFollower,
    Retry,
    SipRecord,
    TimeRangeError,
    VoiceRecord,
)

from ...support.virtual_time import backend_options
from .live_service import ENDS, SECOND, START, Call, LiveService, traffic

LOOPS = ("asyncio", "trio")


def run(main: Callable[[], Any], backend: str = "asyncio") -> Any:
    """Run in virtual time."""
    return anyio.run(main, backend=backend, backend_options=backend_options(backend))


class Consumer:
    """Follows a server, and stores batches with their checkpoints, as in transactions."""

    def __init__(self, service: LiveService, **arguments: Any) -> None:
        self.service = service
        self.arguments = arguments
        self.names: list[str] = []
        self.costs: list[tuple[str, str]] = []
        self.checkpoint: str | None = None
        self.follower: RecordFollower[VoiceRecord] | None = None

    async def follow(self, seconds: float, *, patience: float = math.inf, **options: Any) -> None:
        """Follow for some time, from the last stored checkpoint. The consumer waits for an item up to `patience`."""
        async with self.service.session(**options) as session:
            resume = FollowCheckpoint.parse(self.checkpoint) if self.checkpoint else None
            follower = self.follower = session.follow(**self.arguments, resume=resume)
            batches, end = follower.batches(), anyio.current_time() + seconds
            while anyio.current_time() < end:
                with anyio.move_on_at(min(end, anyio.current_time() + patience)):
                    self._store(await anext(batches))
            # Without it, a follower that has returned nothing would begin at the present again.
            self.checkpoint = self.checkpoint or str(follower.checkpoint)

    def _store(self, batch: Any) -> None:
        assert batch.records
        self.names += [record.callee for record in batch.records]
        self.costs += [(record.callee, str(record.cost)) for record in batch.records]
        self.checkpoint = str(batch.checkpoint)

    @property
    def found(self) -> Counter[str]:
        """How often each record was returned."""
        return Counter(self.names)


def check(consumer: Consumer, start: float, until: float, lookback: float) -> None:
    """Check that each record was returned once that appeared within the lookback."""
    calls = {call.name: call for call in consumer.service.calls}
    found = consumer.found
    assert {name: number for name, number in found.items() if number > 1} == {}
    assert [name for name in found if calls[name].second < start] == []
    must = [
        c for c in calls.values() if start + 3 < c.second and c.appears <= c.second + lookback and c.appears <= until
    ]
    assert [(call.name, call.second, call.appears) for call in must if call.name not in found] == []


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("seed", range(3))
def test_each_record_is_returned_once(backend: str, ends: str, seed: int) -> None:
    """Records that appear late, kills, cancellations, failures and other sessions in between."""
    chance = random.Random(f"{backend} {ends} {seed}")
    lookback = chance.choice([30, 120, 600])
    every = chance.choice([4.0, 10.0, 30.0, 100.0])
    rate = chance.choice([0.02, 0.5, 3, 12])
    length = min(1500, 2000 / rate)
    before = min(900, 2000 / rate)
    calls = traffic(chance, (-before, length), rate, chance.choice([0, 0.2, 1]), chance.choice([1, lookback]))
    crowd = chance.randrange(int(length))
    calls += [Call(f"crowd {number}", crowd, crowd + chance.random() * 3) for number in range(chance.choice([0, 150]))]
    failing = chance.choice([0, 0, 0.05])
    service = LiveService(
        calls,
        ends,
        latency=chance.choice([0.01, 0.3]),
        fails=lambda _: chance.choice(["-18", "500"]) if chance.random() < failing else None,
        total=chance.choice([lambda total: total, lambda total: total, lambda total: min(total, 100), lambda _: None]),
    )
    start = chance.choice([None, -600])
    consumer = Consumer(
        service,
        start=None if start is None else START + start * SECOND,
        every=every,
        lookback=lookback * SECOND,
    )

    async def main() -> float:
        while service.now < length:
            patience = chance.choice([math.inf, math.inf, 0.4, 7])
            await consumer.follow(chance.uniform(10, length), patience=patience, retry=Retry(attempts=2))
            await anyio.sleep(chance.choice([0, 3, 200]))
        # Long enough for the last records to leave the lookback.
        end = service.now
        await consumer.follow(lookback + 3 * every + 500, retry=Retry(attempts=2))
        return end

    end = run(main, backend)
    check(consumer, -2 if start is None else start, end, lookback)


@pytest.mark.parametrize("backend", LOOPS)
def test_a_record_is_returned_soon_after_it_appears(backend: str) -> None:
    """On time within a poll; late ones too, if the account is quiet."""
    calls = [Call("on time", 100, 100), Call("late", 50, 400), Call("very late", 10, 605), Call("too late", 20, 800)]
    service, seen = LiveService(calls), dict[str, float]()

    async def main() -> None:
        async with service.session() as session:
            with anyio.move_on_after(1500):
                async for record in session.follow(every=10):
                    seen[str(record.callee)] = service.now

    run(main, backend)
    assert seen.keys() == {"on time", "late", "very late"}
    assert 100 < seen["on time"] < 112
    assert 400 < seen["late"] < 412
    assert 605 < seen["very late"] < 690


@pytest.mark.parametrize(
    ("rate", "late", "most"),
    [
        (0, 0, 2.5),
        (0.01, 0, 2.5),
        (0.1, 0.2, 5.04),
        (1, 0, 3),
        (1, 0.2, 5.4),
        (3, 0.2, 6.2),
        (10, 0, 7),
        (10, 0.2, 8.9),
    ],
)
def test_requests_of_a_poll(rate: float, late: float, most: float) -> None:
    """About two on a quiet account; on a busy one, at most 1.3 for each page of new records and five more."""
    calls = traffic(random.Random(1), (-600, 1800), rate, late, 120)
    service = LiveService(calls)
    consumer = Consumer(service)
    run(lambda: consumer.follow(2500))
    requests = [at for at, *_ in service.requests if 700 < at < 1800]
    assert len(requests) / (1100 / 30) <= most
    check(consumer, -2, 2500, 600)


def test_changed_records_are_returned_again() -> None:
    """With `changes`, within the lookback; without it never."""
    calls = [Call("ends", 100, 100, 250), Call("ends later", 100, 100, 1000), Call("same", 101, 101)]

    def costs(changes: bool) -> list[tuple[str, str]]:
        consumer = Consumer(LiveService(calls), changes=changes, every=20)
        run(lambda: consumer.follow(2000))
        return consumer.costs

    first = [("ends", "0"), ("ends later", "0"), ("same", "0.1")]
    assert costs(changes=False) == first
    assert costs(changes=True) == [*first, ("ends", "0.1")]


def test_a_change_on_a_shared_second_is_returned_once() -> None:
    """Also where the older of two stretches leaves the lookback."""
    calls = [Call(f"{number}", number, number, number + 290) for number in range(400)]
    consumer = Consumer(LiveService(calls), changes=True, lookback=timedelta(minutes=5))
    run(lambda: consumer.follow(1000))
    assert {pair: number for pair, number in Counter(consumer.costs).items() if number > 1} == {}
    assert {(call.name, "0") for call in calls if call.second > 1} <= {*consumer.costs}


@pytest.mark.parametrize("every", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("behind", [3, 10])
def test_a_clock_that_is_once_behind_loses_and_doubles_nothing(every: float, behind: float) -> None:
    """A stretch that is then not available to its end is kept as it was."""
    calls = [Call(f"{second}", second, second + (30 if second % 7 == 0 else 0.4)) for second in range(200)]
    service = LiveService(calls, date_behind=lambda number: behind if 100 < number < 103 else 0)
    consumer = Consumer(service, every=every, lookback=timedelta(minutes=2))
    run(lambda: consumer.follow(400))
    check(consumer, -2, 400, 120)


@pytest.mark.parametrize("behind", [20, 200, 900])
@pytest.mark.parametrize("number", range(1, 14))
def test_a_clock_that_is_behind_at_first_leaves_no_gap(number: int, behind: int) -> None:
    """Of a range that is read in several stretches, those after one that is cut short wait for the next poll."""
    calls = [Call(f"{second}", second, -2000) for second in range(-900, 0)]
    service = LiveService(calls, date_behind=lambda each: behind if each == number else 0)
    consumer = Consumer(service, start=START - 800 * SECOND)
    run(lambda: consumer.follow(100))
    check(consumer, -800, 100, 600)


@pytest.mark.parametrize("every", [5.0, 30.0])
@pytest.mark.parametrize("ends", ENDS)
def test_a_record_that_moves_is_returned_once(every: float, ends: str) -> None:
    """The server lists a call by its submit time at first, and then by the time at which it begins."""
    chance = random.Random(1)
    calls = traffic(chance, (0, 600), 1, 0, 1)
    for call in calls:
        call.moved = call.second + chance.randrange(1, 40)
        call.moves = call.moved + 0.5
    consumer = Consumer(LiveService(calls, ends), every=every)
    run(lambda: consumer.follow(1500))
    check(consumer, -2, 1500, 0)


@pytest.mark.parametrize(("every", "lag"), [(1.0, 3.0), (5.0, 20.0), (30.0, 60.0)])
def test_replicas_that_lag_double_nothing(every: float, lag: float) -> None:
    """A record that a late replica does not list stays known."""
    chance = random.Random(1)
    service = LiveService(traffic(chance, (0, 300), 1, 0.2, 30), lag=lambda _: chance.choice([0, lag]))
    consumer = Consumer(service, every=every, lookback=timedelta(minutes=10))
    run(lambda: consumer.follow(1200))
    check(consumer, -2, 1200, 600)


@pytest.mark.parametrize("every", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("margin", [0, 3, 10, 60])
def test_a_server_that_refuses_ends_near_its_present(every: float, margin: float) -> None:
    """The newest seconds are read when it allows."""
    service = LiveService(traffic(random.Random(1), (0, 300), 1, 0.2, 30), end_margin=margin)
    consumer = Consumer(service, every=every, lookback=timedelta(minutes=2))
    run(lambda: consumer.follow(600))
    check(consumer, -80, 600, 120)


@pytest.mark.parametrize("start", [None, -600])
def test_a_checkpoint_before_the_first_answer_holds_the_start(start: int | None) -> None:
    """Whoever resumes from it loses nothing, also without passing the start again."""
    calls = traffic(random.Random(1), (-900, 300), 1, 0, 1)
    service = LiveService(calls, fails=lambda number: "500" if number < 5 else None)

    async def main() -> set[str | None]:
        async with service.session() as session:
            follower = session.follow(None if start is None else START + start * SECOND)
            with anyio.move_on_after(20):
                await anext(follower.batches())
            checkpoint = FollowCheckpoint.parse(str(follower.checkpoint))
            await anyio.sleep(200)
            names = set[str | None]()
            with anyio.move_on_after(800):
                async for record in session.follow(resume=checkpoint):
                    names.add(record.callee)
            return names

    assert {call.name for call in calls if call.second > (start or 1)} <= run(main)


def test_a_call_of_unknown_start_begins_at_the_servers_present() -> None:
    """Also if this machine's clock is wrong."""
    for wrong in (0.0, 7200.0, -7200.0):
        calls = traffic(random.Random(3), (-9000, 600), 0.1, 0, 1)
        service = LiveService(calls, wrong_clock=wrong)
        consumer = Consumer(service)
        run(partial(consumer.follow, 700))
        check(consumer, -2, 600, 600)
        assert min(call.second for call in calls if call.name in consumer.found) >= -2


def test_the_range_before_and_the_follower_tile() -> None:
    """Whichever ends the server includes, each record comes with one of them."""
    for ends in ENDS:
        calls = [Call(f"{second} {number}", second, -500) for second in range(-100, 10) for number in range(3)]
        service = LiveService(calls, ends)
        names: list[str] = []

        async def main(service: LiveService = service, names: list[str] = names) -> None:
            async with service.session() as session:
                middle = START - 50 * SECOND
                names += [str(record.callee) async for record in session.records(START - 90 * SECOND, middle)]
                with anyio.move_on_after(100):
                    async for record in session.follow(middle):
                        names.append(str(record.callee))

        run(main)
        assert len(names) == len(set(names))
        assert {call.name for call in calls if -90 < call.second < 10} <= set(names)


def test_records_without_an_id_and_with_a_placeholder() -> None:
    """They are distinguished by their content, or by their times and callees, also in other polls."""
    calls = [Call(f"{number}", 20 * number, 20 * number, voice_id="0" if number % 2 else "") for number in range(20)]
    consumer = Consumer(LiveService(calls), every=15)
    run(lambda: consumer.follow(1500))
    check(consumer, -2, 1500, 600)


def test_reading_record_by_record_may_be_left_and_continued() -> None:
    """The checkpoint covers a record when more is requested after its batch."""
    calls = [Call(f"{number}", 10, 10) for number in range(5)] + [Call("next", 100, 100)]
    service = LiveService(calls)

    async def main() -> None:
        async with service.session() as session:
            follower = session.follow(START - 10 * SECOND)
            names: list[str | None] = []
            async for record in follower:
                names.append(record.callee)
                if len(names) == 2:
                    break
            before = follower.checkpoint
            async for record in follower:
                names.append(record.callee)
                if record.callee == "next":
                    break
            assert names == [*"01234", "next"]
            resumed = session.follow(resume=before).batches()
            assert [record.callee for record in (await anext(resumed)).records] == [*"01234", "next"]
            with pytest.raises(RuntimeError, match="this follower is read as records"):
                follower.batches()

    run(main)


def test_transient_failures_are_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """With longer and longer pauses; others are raised, and who reads on tries again."""
    failures = {**dict.fromkeys(range(3, 8), "500"), 12: "-1"}
    service = LiveService([Call("late", 500, 500)], fails=failures.get)

    async def main() -> None:
        async with service.session() as session:
            batches = session.follow(every=10).batches()
            with pytest.raises(AuthenticationError):
                await anext(batches)
            batch = await anext(batches)
            assert [record.callee for record in batch.records] == ["late"]

    run(main)
    times = [at for at, *_ in service.requests[2:7]]
    assert [round(later - earlier) for earlier, later in itertools.pairwise(times)] == [10, 20, 40, 80]
    assert [record.name for record in caplog.records] == ["itnio_voice.follow"] * 5
    assert "following continues in 160 s" in caplog.text


def test_a_warning_if_records_appear_near_the_end_of_the_lookback(caplog: pytest.LogCaptureFixture) -> None:
    """How late they appear is measured."""
    consumer = Consumer(LiveService([Call("late", 100, 500)]), every=10)
    run(lambda: consumer.follow(900))
    assert consumer.follower
    assert timedelta(seconds=300) < consumer.follower.latest_arrival <= timedelta(seconds=400)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "use a longer lookback" in caplog.text


def test_memory_and_checkpoint_are_bounded_by_the_lookback() -> None:
    """After two days with 40,000 records, the checkpoint has those of some minutes."""
    calls = [Call(f"{number}", number * 4, number * 4) for number in range(-43_200, 0)]
    service = LiveService(calls, latency=0.01)

    async def main() -> FollowCheckpoint:
        async with service.session() as session:
            follower = session.follow(START - timedelta(days=2))
            number = 0
            async for batch in follower.batches():
                number += len(batch.records)
                assert sum(len(stretch.digests) for stretch in batch.checkpoint.lookback.stretches) <= 20_000
                if number > 43_190:
                    break
            with anyio.move_on_after(1000):
                await anext(follower.batches())
            return follower.checkpoint

    assert sum(len(stretch.digests) for stretch in run(main).lookback.stretches) <= 200


def test_a_start_beyond_the_retention_is_an_error() -> None:
    """It is raised, as for a range."""
    service = LiveService([], kept=3600)

    async def main() -> None:
        async with service.session() as session:
            with pytest.raises(TimeRangeError):
                await anext(session.follow(START - timedelta(days=1)).batches())

    run(main)


def test_two_tasks_cannot_read_a_follower() -> None:
    """The second one gets an error."""

    async def main() -> None:
        async with LiveService([]).session() as session:
            batches = session.follow().batches()
            async with anyio.create_task_group() as group:
                group.start_soon(_next, batches)
                await anyio.sleep(1)
                with pytest.raises(RuntimeError, match="read by one task only"):
                    await anext(batches)
                group.cancel_scope.cancel()

    run(main)


async def _next(items: AsyncIterator[Any]) -> None:
    await anext(items)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"every": 0}, "every must be a positive number of seconds, not 0"),
        ({"every": math.nan}, "every must be a positive number"),
        ({"every": True}, "every must be a positive number"),
        ({"lookback": timedelta()}, "lookback must be a timedelta above 0"),
        ({"lookback": timedelta(days=31)}, "lookback must be a timedelta above 0 and of at most 30 days"),
        ({"lookback": 600}, "lookback must be a timedelta"),
        ({"start": START + timedelta(days=1)}, "start must not be in the future"),
        ({"start": START.replace(tzinfo=None)}, "start must be a datetime with an offset"),
        ({"where": {"nothing": "x"}}, "nothing"),
        ({"resume": Checkpoint("x")}, "resume must be a FollowCheckpoint"),
        ({"resume": FollowCheckpoint("x")}, "resume is the checkpoint of another query"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    """They are a ValueError at the call, before any request."""
    service = LiveService([])

    async def main() -> None:
        async with service.session() as session:
            with pytest.raises(ValueError, match=words):
                session.follow(**arguments)
            session.follow(START, every=1, of=SipRecord, lookback=SECOND)

    run(main)
    assert service.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2}',
        '{"version": 1, "query": "x", "position": "2026-01-01T00:00:00", "stretches": []}',
        '{"version": 1, "query": "x", "position": null, "stretches": [["2026-01-01T00:00:00+00:00"]]}',
        (
            '{"version": 1, "query": "x", "position": null, "stretches": [["2026-01-01T00:00:00+00:00", '
            '"2026-01-01T00:00:09+00:00", 0, "2026-01-01T00:00:09+00:00", false, "AAAA"]]}'
        ),
        str(Checkpoint("x")),
        "[" * 100_000,
    ],
)
def test_a_text_that_is_no_checkpoint(text: str) -> None:
    """It is a ValueError."""
    with pytest.raises(ValueError, match="not a checkpoint of a follower"):
        FollowCheckpoint.parse(text)
