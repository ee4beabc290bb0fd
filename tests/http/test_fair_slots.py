"""Slots: a fixed number, granted round-robin between callers; cancellations lose none."""

import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from itnio_voice._http.fair_slots import FairSlots

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def taken(slots: FairSlots, caller: str) -> AsyncGenerator[None]:
    """Hold a slot within an `async with` block."""
    await slots.acquire(caller)
    try:
        yield
    finally:
        slots.release()


async def test_slots_are_granted_round_robin() -> None:
    """A caller with many requests waits after one with a single request; one caller's requests keep their order."""
    slots = FairSlots(1)
    order: list[str] = []

    async def hold_slot(caller: str, number: int) -> None:
        async with taken(slots, caller):
            order.append(f"{caller}{number}")

    async with anyio.create_task_group() as group, taken(slots, "first"):
        for caller, number in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("c", 2)]:
            group.start_soon(hold_slot, caller, number)
            await anyio.wait_all_tasks_blocked()
        assert [] == order

    assert ["a1", "b1", "c1", "a2", "c2", "a3"] == order


async def test_a_new_request_waits_after_earlier_ones() -> None:
    """No request overtakes waiting ones: a released slot goes to them at once."""
    slots = FairSlots(1)
    order: list[str] = []

    async def hold_slot(name: str) -> None:
        async with taken(slots, name):
            order.append(name)

    async with anyio.create_task_group() as group:
        async with taken(slots, "holder"):
            group.start_soon(hold_slot, "waits")
            await anyio.wait_all_tasks_blocked()
        await hold_slot("comes later")

    assert ["waits", "comes later"] == order


async def test_a_slot_granted_to_a_cancelled_request_goes_to_the_next() -> None:
    """A slot that is granted to a request at the moment of its cancellation goes to the next one."""
    slots = FairSlots(1)
    order: list[str] = []

    async def hold_slot(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with taken(slots, name):
                order.append(name)

    async with anyio.create_task_group() as group:
        scopes = [anyio.CancelScope() for _ in range(3)]
        async with taken(slots, "holder"):
            for name, scope in zip("abc", scopes, strict=True):
                group.start_soon(hold_slot, name, scope)
            await anyio.wait_all_tasks_blocked()
            scopes[1].cancel()
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()

    assert ["c"] == order
    assert (1, 0) == (slots._free, len(slots._waiting))


@pytest.mark.parametrize("seed", range(10))
async def test_cancelled_requests_lose_no_slot(seed: int) -> None:
    """After any number of requests, some cancelled at any point, all slots are free, and none waits."""
    chance = random.Random(seed)
    slots, inside, highest, done = FairSlots(3), 0, 0, Counter[str]()

    async def hold_slot(caller: str, wait: float, scope: anyio.CancelScope) -> None:
        nonlocal inside, highest
        with scope:
            async with taken(slots, caller):
                inside += 1
                highest = max(highest, inside)
                try:
                    await anyio.sleep(wait)
                    done[caller] += 1
                finally:
                    inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(300):
            scope = anyio.CancelScope()
            group.start_soon(hold_slot, chance.choice("abcd"), chance.choice([0, 0.0005, 0.002]), scope)
            if chance.random() < 0.3:
                scope.cancel()
            elif chance.random() < 0.3:
                group.start_soon(_cancel_soon, scope, chance.uniform(0, 0.05))
            if chance.random() < 0.2:
                await anyio.lowlevel.checkpoint()

    assert 3 == highest
    assert 100 < done.total() < 300
    assert (3, 0) == (slots._free, len(slots._waiting))


async def _cancel_soon(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.cancel()
