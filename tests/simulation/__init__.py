"""Scenarios drawn from a seed: a misbehaving server, and readers that are stopped and resumed at any time.

The server is the sandbox, called within this process, with all its switches and faults; time is virtual, so that
waits cost nothing. Between any two requests a record may appear anywhere, the oldest may expire, the server's
clock may jump, and the reader may be cancelled. `plan` draws a scenario, `traits` adds unusual servers, `server`
and `reader` run it, and `judge` checks the result.

`python -m tests.simulation FROM COUNT` runs many.
"""

import random
import time
from collections.abc import Collection
from datetime import timedelta
from random import Random
from unittest.mock import patch

import anyio
import attrs
import trio

from itnio_voice._client import counting, newest_first
from itnio_voice._walk import widths

from ..support.virtual_time import backend_options
from .judge import Judge
from .plan import Plan
from .reader import Reader
from .server import Runaway, Server
from .traits import TRAITS, draw_traits

__all__ = ["TRAITS", "Runaway", "Scenario", "simulate"]


@attrs.define
class Scenario:
    """A scenario that has been run; `complete` is whether everything was read to its end."""

    plan: Plan
    server: Server | None = None
    reader: Reader | None = None
    complete: bool = False

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.server.requests if self.server else 0

    async def run(self) -> None:
        """Read, and check the result."""
        self.server = server = Server(self.plan, time.monotonic if self.plan.real else anyio.current_time)
        judge = Judge(self.plan, server)
        self.reader = reader = Reader(self.plan, server, judge.check)
        server.allowed = lambda: judge.allowed(reader)
        tasks = anyio.get_running_tasks()
        try:
            if self.plan.real:
                async with server.sandbox:
                    await self._run(judge)
            else:
                await self._run(judge)
        finally:
            server.sandbox.close()
        assert tasks == anyio.get_running_tasks()

    async def _run(self, judge: Judge) -> None:
        server, reader = judge.server, self.reader
        assert reader is not None
        there = server.visible(everywhere=True)
        server.came = server.seconds.keys() - there
        self.complete = await reader.run()
        # A synchronisation also has to find the records that appeared while it ran.
        there = server.visible() if self.plan.rounds else there & server.visible()
        judge.judge(reader, there, complete=self.complete)


def simulate(
    seed: int, *, real: bool = False, traits: Collection[str] | None = None, scenario: Scenario | None = None
) -> Scenario:
    """Run the scenario of a seed: one third on trio, the others on asyncio; `real` is over a socket in real time.

    If `traits` is None, they are drawn. `scenario` is filled in, so that it can be inspected after a failure.
    """
    plan = Plan(Random(seed), Random(f"traits of {seed}"), real)
    scenario = scenario or Scenario(plan)
    scenario.plan = plan
    random.seed(seed)  # the source of waits
    plan.deep = plan.chance.choice([10_000, 20, 6])
    plan.draw()
    ahead = Random(f"ahead of {seed}")
    plan.ahead = ahead.choice([1, 2, 8, 64]) if ahead.random() < 1 / 3 else 0
    plan.traits = draw_traits(plan) if traits is None else tuple(traits)
    if plan.traits:
        plan.concurrency = plan.more.choice([1, 4, 8, 64])
    for trait in plan.traits:
        TRAITS[trait](plan)
    first_part = timedelta(seconds=plan.first_part)
    with (
        patch.multiple(widths, DEEPEST=plan.deep, FITTING=plan.deep // 2),
        patch.multiple(counting, FEW_RECORDS=plan.few),
        patch.multiple(newest_first, FITTING=plan.deep // 2, FIRST=first_part, SHORTEST_PART=first_part),
    ):
        try:
            backend = "trio" if seed % 3 == 2 else "asyncio"
            if backend == "trio":
                trio._core._run._r.seed(seed)  # the source of trio's order of tasks
            anyio.run(scenario.run, backend=backend, backend_options={} if real else backend_options(backend))
        except BaseException as error:
            error.add_note(f"the scenario's seed is {seed}, its traits are {plan.traits or 'none'}")
            raise
    return scenario
