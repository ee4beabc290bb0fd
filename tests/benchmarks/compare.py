"""Measure the library against what users would write by hand: medians of interleaved rounds, in one run."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pydantic
from pydantic.alias_generators import to_camel

from itnio_voice import Credentials, VoiceRecord, VoiceSession, Window
from itnio_voice.envelope import read_page
from itnio_voice.paging import PageRequest
from itnio_voice.sandbox.dataset import generate

ROUNDS = 15
PAGES = 40
START = datetime(2026, 9, 1, tzinfo=UTC)
END = START + timedelta(days=20)


class Call(pydantic.BaseModel):
    """The record as a hand-written model has it."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel)

    voice_id: str
    callee: str | None = None
    submit_time: datetime
    answer_time: datetime | str | None = None
    hangup_time: datetime | str | None = None
    call_duration: int | None = None
    charged_duration: int | None = None
    cost: str | None = None


class Data(pydantic.BaseModel):
    """A page."""

    total: int
    records: list[Call]


class Answer(pydantic.BaseModel):
    """The envelope."""

    status: str
    data: Data


def bodies() -> list[bytes]:
    """Return the answers to the pages of a window, each with records of its own."""
    records = list(generate(PAGES * 100, start=START, end=END, seed=1))
    pages = [records[first : first + 100] for first in range(0, len(records), 100)]
    numbers = {"total": len(records), "size": 100, "pages": PAGES}
    return [
        json.dumps({"status": "0", "data": numbers | {"current": current, "records": page}}).encode()
        for current, page in enumerate(pages, 1)
    ]


def decoding(answers: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return ways from bytes to records."""
    window = Window(START, END)
    return {
        "json.loads": lambda: [json.loads(body) for body in answers],
        "pydantic": lambda: [Answer.model_validate_json(body) for body in answers],
        "itnio_voice": lambda: [
            read_page(body, PageRequest(window, current, 100), VoiceRecord) for current, body in enumerate(answers, 1)
        ],
    }


def streaming(answers: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return ways to read all pages over a transport in memory."""
    empty = json.dumps({"status": "0", "data": {"total": 0, "records": []}}).encode()

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        seam = asked["params"]["endTime"] == START.isoformat()
        return httpx.Response(200, content=empty if seam else answers[asked["current"] - 1])

    async def loop() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            for current in range(1, PAGES + 1):
                body = {"current": current, "size": 100, "params": {"strTime": "", "endTime": END.isoformat()}}
                response = await client.post("https://example.com", json=body)
                for _ in json.loads(response.content)["data"]["records"]:
                    pass

    async def library() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        async with client, VoiceSession(Credentials("key", "secret"), http_client=client) as session:
            async for _ in session.records(START, END):
                pass

    return {"loop and json.loads": lambda: asyncio.run(loop()), "itnio_voice": lambda: asyncio.run(library())}


def table(title: str, ways: dict[str, Callable[[], object]]) -> None:
    """Print the CPU time of each way per record, and its ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            times[name].append(time.process_time() - began)
    first = statistics.median(next(iter(times.values())))
    print(f"\n{title:32}{'µs a record':>14}{'ratio':>8}")
    for name, spent in times.items():
        median = statistics.median(spent)
        print(f"{name:32}{median / PAGES / 100 * 1e6:14.2f}{median / first:8.2f}")


if __name__ == "__main__":
    ANSWERS = bodies()
    table("decoding", decoding(ANSWERS))
    table("streaming, in memory", streaming(ANSWERS))
