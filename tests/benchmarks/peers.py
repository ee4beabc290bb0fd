"""The alternatives that users would write or choose, each implemented as well as possible."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import httpx
import msgspec
import pydantic
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator
from pydantic.alias_generators import to_camel
from requests import PreparedRequest

KEY, SECRET = "sandbox-key", "sandbox-secret"


def signed() -> dict[str, str]:
    """Return a request's headers."""
    timestamp = str(int(time.time()))
    digest = hashlib.md5((KEY + SECRET + timestamp).encode(), usedforsecurity=False).hexdigest()
    return {"Api-Key": KEY, "Timestamp": timestamp, "Sign": digest}


def question(start: datetime, end: datetime, current: int) -> dict[str, Any]:
    """Return a request's body."""
    params = {"strTime": start.isoformat(), "endTime": end.isoformat()}
    return {"current": current, "size": 100, "params": params}


# Records: the vendor's fields, with "" and null for missing values.

Text = Annotated[str | None, pydantic.BeforeValidator(lambda value: value or None)]
Time = Annotated[datetime | None, pydantic.BeforeValidator(lambda value: value or None)]
Amount = Annotated[Decimal | None, pydantic.BeforeValidator(lambda value: value or None)]


class Record(pydantic.BaseModel):
    """A record as a pydantic model."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel, frozen=True)

    voice_id: Text = None
    callee: Text = None
    display_num: Text = None
    code: Text = None
    submit_time: Time = None
    call_time: Time = None
    ringing_time: Time = None
    answer_time: Time = None
    hangup_time: Time = None
    call_duration: int | None = None
    charged_duration: int | None = None
    termination_code: Text = None
    termination_reason: Text = None
    cost: Amount = None
    bill_period: Text = None
    rate: Amount = None
    base_cost: Amount = None
    voice_file_id: Text = None
    feedback_value: Text = None
    called_info: Text = None
    settle_rate: Amount = None
    quote_exchange: Amount = None
    settle_pay: Amount = None
    currency: Text = None


class Page(pydantic.BaseModel):
    """A page."""

    total: int
    pages: int
    records: list[Record]


class Answer(pydantic.BaseModel):
    """The envelope."""

    status: str
    data: Page


RawRecord = msgspec.defstruct(
    "RawRecord", [(name, str | int | None, None) for name in Record.model_fields], rename="camel", gc=False
)
RawPage = msgspec.defstruct("RawPage", [("total", int), ("pages", int), ("records", list[RawRecord])])  # type: ignore[valid-type] # made above
RawAnswer = msgspec.defstruct("RawAnswer", [("status", str), ("data", RawPage)])
raw: msgspec.json.Decoder[Any] = msgspec.json.Decoder(RawAnswer)


# Loops


def plain(body: bytes) -> tuple[int, Iterable[Any]]:
    """Return the number of pages and the records as dicts."""
    data = json.loads(body)["data"]
    return data["pages"], data["records"]


def modelled(body: bytes) -> tuple[int, Iterable[Any]]:
    """Return the number of pages and the records as pydantic models."""
    data = Answer.model_validate_json(body).data
    return data.pages, data.records


def structs(body: bytes) -> tuple[int, Iterable[Any]]:
    """Return the number of pages and the records as msgspec structs, nothing in them converted."""
    data = raw.decode(body).data
    return data.pages, data.records


async def one_by_one(client: httpx.AsyncClient, url: str, start: datetime, end: datetime, read: Any = plain) -> int:
    """Read page by page; return the number of records."""
    current, pages, count = 0, 1, 0
    while current < pages:
        current += 1
        response = await client.post(url, json=question(start, end, current), headers=signed())
        response.raise_for_status()
        pages, records = read(response.content)
        for _ in records:
            count += 1
    return count


async def by_workers(client: httpx.AsyncClient, url: str, start: datetime, end: datetime, read: Any = plain) -> int:
    """Read page 1, and the others with eight workers; return the number of records."""
    counts = []

    async def page(current: int) -> int:
        response = await client.post(url, json=question(start, end, current), headers=signed())
        response.raise_for_status()
        pages, records = read(response.content)
        counts.append(sum(1 for _ in records))
        return int(pages)

    async def work(left: Iterator[int]) -> None:
        for current in left:
            await page(current)

    left = iter(range(2, await page(1) + 1))
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work(left))
    return sum(counts)


def sign(request: PreparedRequest) -> PreparedRequest:
    """Sign a request of the requests library."""
    request.headers.update(signed())
    return request


def dlt_client(base_url: str, start: datetime, end: datetime) -> int:
    """Read with dlt's REST client; return the number of records."""
    paginator = PageNumberPaginator(
        base_page=1, page_body_path="current", total_path="data.pages", stop_after_empty_page=False
    )
    client = RESTClient(base_url, auth=sign, paginator=paginator, data_selector="data.records")
    body = question(start, end, 1)
    return sum(len(page) for page in client.paginate("/recordGroupQuery", method="POST", json=body))
