"""Pages for benchmarks, as the sandbox sends them, each with its own records; and a transport that holds them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from itnio_voice.sandbox._data.dataset import generate

START = datetime(2026, 9, 1, tzinfo=UTC)
END = START + timedelta(days=20)
PAGE = 100
_NOTHING = b'{"status":"0","reason":"success","data":{"total":0,"size":100,"current":1,"pages":0,"records":[]}}'


def rows(pages: int) -> int:
    """Return the number of records on a number of pages: the last is half full, as a full one costs another request."""
    return pages * PAGE - PAGE // 2


def answers(pages: int, *, seed: int, **others: Any) -> list[bytes]:
    """Return the answers to all pages of the range, the last half full; `others` are further fields of each record."""
    records = [record | others for record in generate(rows(pages), start=START, end=END, seed=seed)]
    numbers = {"total": len(records), "size": PAGE, "pages": pages, "searchCount": True}
    return [
        msgspec.json.encode(
            {
                "status": "0",
                "reason": "success",
                "data": numbers | {"current": current, "records": records[PAGE * (current - 1) : PAGE * current]},
            }
        )
        for current in range(1, pages + 1)
    ]


class Held(httpx.AsyncBaseTransport):
    """A transport that answers from memory: no records before the range, and these pages in it."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        query = json.loads(request.content)
        if datetime.fromisoformat(query["params"]["endTime"]) == START:
            return httpx.Response(200, content=_NOTHING)
        return httpx.Response(200, content=self.bodies[query["current"] - 1])
