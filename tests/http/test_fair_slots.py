"""Slots: never more than there are, in turns, and none is lost, whoever is cancelled."""

import random
from collections import Counter

import anyio
import anyio.lowlevel
import pytest

from itnio_voice._http.fair_slots import FairSlots

pytestmark = pytest.mark.anyio


async def test_callers_take_turns() -> None:
    """Who asks for many waits after who asks for one; the requests of one caller keep their order."""
    slots = FairSlots(1)
    order: list[str] = []

    async def ask(caller: str, number: int) -> None:
        async with slots.taken(caller):
            order.append(f"{caller}{number}")

    async with anyio.create_task_group() as group, slots.taken("first"):
        for caller, number in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("c", 2)]:
            group.start_soon(ask, caller, number)
            await anyio.wait_all_tasks_blocked()
        assert [] == order

    assert ["a1", "b1", "c1", "a2", "c2", "a3"] == order


async def test_a_newcomer_waits() -> None:
    """Nobody comes before those who wait: a slot that is given back is theirs at once."""
    slots = FairSlots(1)
    order: list[str] = []

    async def ask(name: str) -> None:
        async with slots.taken(name):
            order.append(name)

    async with anyio.create_task_group() as group:
        async with slots.taken("holder"):
            group.start_soon(ask, "waits")
            await anyio.wait_all_tasks_blocked()
        await ask("comes later")

    assert ["waits", "comes later"] == order


async def test_a_turn_that_comes_with_a_cancellation() -> None:
    """A slot that is handed to a request that is cancelled at that moment goes on to the next one."""
    slots = FairSlots(1)
    served: list[str] = []

    async def ask(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with slots.taken(name):
                served.append(name)

    async with anyio.create_task_group() as group:
        scopes = [anyio.CancelScope() for _ in range(3)]
        async with slots.taken("holder"):
            for name, scope in zip("abc", scopes, strict=True):
                group.start_soon(ask, name, scope)
            await anyio.wait_all_tasks_blocked()
            scopes[1].cancel()
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()

    assert ["c"] == served
    assert (1, 0) == (slots._free, len(slots._waiting))


@pytest.mark.parametrize("seed", range(10))
async def test_whoever_is_cancelled(seed: int) -> None:
    """After any number of requests, some of them cancelled anywhere, all slots are there, and nobody waits."""
    chance = random.Random(seed)
    slots, inside, most, done = FairSlots(3), 0, 0, Counter[str]()

    async def ask(caller: str, wait: float, scope: anyio.CancelScope) -> None:
        nonlocal inside, most
        with scope:
            async with slots.taken(caller):
                inside += 1
                most = max(most, inside)
                try:
                    await anyio.sleep(wait)
                    done[caller] += 1
                finally:
                    inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(300):
            scope = anyio.CancelScope()
            group.start_soon(ask, chance.choice("abcd"), chance.choice([0, 0.0005, 0.002]), scope)
            if chance.random() < 0.3:
                scope.cancel()
            elif chance.random() < 0.3:
                group.start_soon(_cancel_soon, scope, chance.uniform(0, 0.05))
            if chance.random() < 0.2:
                await anyio.lowlevel.checkpoint()

    assert 3 == most
    assert 100 < done.total() < 300
    assert (3, 0) == (slots._free, len(slots._waiting))


async def _cancel_soon(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.cancel()
