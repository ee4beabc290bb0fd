"""Whole walks against a model server drawn at random: no record lost, none doubled, whatever it does."""

import json
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import attrs
import httpx
import pytest

from itnio_voice import Credentials, IncompleteWindowError, Retry, VoiceRecord, VoiceSession
from itnio_voice import walk as walking

SCENARIOS = int(os.environ.get("ITNIO_SCENARIOS", "100"))
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@attrs.define
class Model:
    """A server whose every unknown is drawn from a seed; records come and go between any two requests."""

    chance: random.Random
    length: int
    ends: str = ""
    backwards: bool = False
    cap: int = 100
    longest: int = 10**9
    weak: int = 10**9
    past_last_first: bool = False
    tells_total: bool = True
    busy: float = 0.0
    rows: dict[str, int] = attrs.field(factory=dict)
    gone: set[str] = attrs.field(factory=set)
    come: set[str] = attrs.field(factory=set)
    requests: int = 0

    def draw(self) -> None:
        """Draw its ways and its records."""
        chance = self.chance
        self.ends = chance.choice(["[]", "[)", "(]", "()"])
        self.backwards = chance.random() < 0.5
        self.cap = chance.choice([1, 2, 3, 5, 100])
        least = 2 + self.length // 200  # a walk in windows of two seconds takes its time
        self.longest = max(least, chance.choice([10**9, 10**9, 2, 7, 60, self.length // 2 + 2]))
        self.weak = max(least, chance.choice([10**9, 10**9, 2, 20, 200]))
        self.past_last_first = chance.random() < 0.3
        self.tells_total = chance.random() < 0.85
        self.busy = chance.choice([0, 0, 0.02, 0.1])
        crowd = chance.randrange(self.length)
        for number in range(chance.randrange(60)):
            at = crowd if chance.random() < 0.2 else chance.randrange(-2, self.length + 2)
            self.rows[f"r{number}"] = at

    def live(self) -> None:
        """Let time pass: a record may appear anywhere, the oldest may expire."""
        if self.chance.random() < self.busy:
            name = f"n{self.requests}"
            self.rows[name] = self.chance.randrange(self.length)
            self.come.add(name)
        if self.rows and self.tells_total and self.chance.random() < self.busy / 2 and not self.come:
            oldest = min(self.rows, key=lambda name: (self.rows[name], name))
            del self.rows[oldest]
            self.gone.add(oldest)

    def holds(self, start: int, end: int) -> list[str]:
        """Return the ids of a range, in its order."""
        left = start if self.ends[0] == "[" else start + 1
        right = end if self.ends[1] == "]" else end - 1
        names = sorted((at, name) for name, at in self.rows.items() if left <= at <= right)
        return [name for _, name in (reversed(names) if self.backwards else names)]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests += 1
        self.live()
        asked = json.loads(request.content)
        start, end = (
            (datetime.fromisoformat(asked["params"][name]) - START) // SECOND for name in ("strTime", "endTime")
        )
        if end - start > self.longest:
            return httpx.Response(200, json={"status": "-25", "reason": "out of time range"})
        names = self.holds(start, end)
        if end - start > self.weak and names and self.chance.random() < 0.7:
            return httpx.Response(200, json={"status": "-18", "reason": "system error"})
        size = min(asked["size"], self.cap)
        pages = -(-len(names) // size)
        current = asked["current"]
        if current > pages and self.past_last_first:
            current = 1
        data: dict[str, Any] = {"current": current, "size": size, "pages": pages}
        data["records"] = [{"voiceId": name} for name in names[(current - 1) * size : current * size]]
        if self.tells_total:
            data["total"] = len(names)
        return httpx.Response(200, json={"status": "0", "data": data})


async def read(session: VoiceSession, start: int, end: int, chance: random.Random) -> list[str]:
    """Read a range in a way drawn at random, stopped and resumed at random."""
    first, last = START + start * SECOND, START + end * SECOND
    size = chance.choice([1, 2, 5, 100])
    way = chance.choice(["records", "pages", "collect", "windows", "resumed"])
    stream = session.records(first, last, page_size=size)
    records: list[VoiceRecord] = []
    if way == "records":
        records = [record async for record in stream]
    elif way == "pages":
        records = [record async for page in stream.pages() for record in page.records]
    elif way == "collect":
        records = await stream.collect()
    else:
        checkpoint = None
        while True:
            stream = session.records(first, last, page_size=size, resume=checkpoint)
            async for batch in stream.windows():
                records += batch.records
                checkpoint = batch.checkpoint
                if way == "resumed" and chance.random() < 0.3:
                    break
            else:
                break
    return [record.voice_id or "" for record in records]


async def scenario(seed: int) -> None:
    """Run one."""
    chance = random.Random(seed)
    model = Model(chance, chance.choice([1, 2, 5, 30, 300, 5000]))
    model.draw()
    there = dict(model.rows)
    client = httpx.AsyncClient(transport=httpx.MockTransport(model))
    session = VoiceSession(
        Credentials("k", "s"), http_client=client, concurrency=chance.choice([1, 2, 4]), retry=Retry(attempts=1)
    )
    cuts = sorted({0, model.length, *(chance.randrange(model.length + 1) for _ in range(chance.choice([0, 0, 2])))})
    found: Counter[str] = Counter()
    try:
        for start, end in pairwise(cuts):
            found.update(await read(session, start, end, chance))
    except IncompleteWindowError:
        assert model.come or model.gone or not model.tells_total, f"seed {seed}: nothing moved, and yet incomplete"
        return
    inner = {name for name, at in there.items() if 0 < at < model.length} - model.gone
    edges = {name for name, at in there.items() if at in {0, model.length}}

    assert not [name for name, count in found.items() if count > 1], f"seed {seed}: doubled"
    assert not inner - found.keys(), f"seed {seed}: lost"
    assert found.keys() <= inner | edges | model.come | model.gone, f"seed {seed}: not of this range"
    assert model.requests < 100 * (len(there) + len(model.come) + len(cuts)) + 40 * model.length, f"seed {seed}"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_scenarios() -> None:
    """Each scenario holds; `ITNIO_SCENARIOS` sets how many are run."""
    deepest, fitting = walking.DEEPEST, walking.FITTING
    try:
        for seed in range(SCENARIOS):
            walking.DEEPEST, walking.FITTING = random.Random(seed).choice([(10_000, 5_000), (20, 10), (6, 3)])
            with anyio.fail_after(120):
                await scenario(seed)
    finally:
        walking.DEEPEST, walking.FITTING = deepest, fitting
