"""Walks over a real PostgreSQL whose query has no tie-breaker: records of one second come in an order of its choice.

`ORDER BY submit_time LIMIT n OFFSET m` sorts with a heap of n + m rows while that is less than half of the rows, and
with a quicksort after that. Neither is stable, so each page lists the records of one second in another order, always
the same for that page: the pages of one pass hold some records twice and others not at all.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import anyio.lowlevel
import httpx
import psycopg2
import pytest

from itnio_voice import Credentials, IncompleteWindowError, VoiceRecord, VoiceSession

from ..support.postgres import PROGRAMS, postgres

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
]

WALKS = int(os.environ.get("ITNIO_WALKS", "1"))
"""The number of walks for each combination of parameters; each has its own rows."""
SIMULTANEOUS = [250, 1_000, *([5_000] if WALKS > 1 else [])]
"""The number of records on one second. Thousands take minutes, because they are on deep pages."""
START = datetime(2025, 1, 15, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
BUSY = START + timedelta(minutes=23, seconds=41)
"""The second with all of a walk's simultaneous records."""
OTHERS = 60
"""The number of records on other, random seconds of the hour."""

Order = Literal["ASC", "DESC"]


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """Run a PostgreSQL server, and connect to it."""
    with postgres() as address:
        connection = psycopg2.connect(address)
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()


def fill(connection: Any, *, simultaneous: int, indexed: bool, seed: int) -> list[str]:
    """Fill the table with rows in a random physical order, and return their ids."""
    chance = random.Random(seed)
    seconds = [BUSY] * simultaneous
    seconds += [START + timedelta(seconds=chance.choice([*range(1, 1400), *range(1500, 3600)])) for _ in range(OTHERS)]
    rows = [(f"{chance.getrandbits(64):016x}", second) for second in seconds]
    chance.shuffle(rows)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS calls")
        cursor.execute("CREATE TABLE calls (voice_id text PRIMARY KEY, submit_time timestamptz NOT NULL)")
        cursor.execute(
            "INSERT INTO calls SELECT * FROM unnest(%s::text[], %s::timestamptz[])",
            ([voice_id for voice_id, _ in rows], [second for _, second in rows]),
        )
        if indexed:
            cursor.execute("CREATE INDEX ON calls (submit_time)")
        cursor.execute("ANALYZE calls")
    return [voice_id for voice_id, _ in rows]


class Service:
    """The vendor's query endpoint, as one SQL statement for the page and one for the total."""

    def __init__(self, connection: Any, order: Order) -> None:
        self._connection = connection
        self._order = order
        self.requests = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request for a page."""
        assert request.url.path.endswith("/recordGroupQuery")
        self.requests += 1
        body = json.loads(request.content)
        current, size, params = body["current"], body["size"], body["params"]
        among = "FROM calls WHERE submit_time BETWEEN %(strTime)s AND %(endTime)s"
        page = f"SELECT voice_id, submit_time {among} ORDER BY submit_time {self._order}"
        page += f" LIMIT {int(size)} OFFSET {(int(current) - 1) * int(size)}"
        await anyio.lowlevel.checkpoint()
        with self._connection.cursor() as cursor:
            cursor.execute(page, params)
            rows = cursor.fetchall()
            cursor.execute(f"SELECT count(*) {among}", params)
            (total,) = cursor.fetchone()
        records = [{"voiceId": voice_id, "submitTime": second.isoformat()} for voice_id, second in rows]
        data = {"total": total, "size": size, "current": current, "pages": -(-total // size), "records": records}
        return httpx.Response(200, json={"status": "0", "reason": "success", "data": data})


async def walk(service: Service, page_size: int) -> list[VoiceRecord]:
    """Return the records of the hour."""
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(service.answer)) as client,
        VoiceSession(Credentials("key", "secret"), http_client=client) as session,
    ):
        return await session.records(START, START + HOUR, page_size=page_size).collect()


def judge(ids: list[str], records: list[VoiceRecord]) -> tuple[int, int]:
    """Return the number of missing records, and of records that were returned more than once."""
    found = Counter(record.voice_id for record in records)
    assert not set(found) - set(ids)
    return len(ids) - len(found), sum(number > 1 for number in found.values())


def most_requests(ids: list[str], page_size: int) -> int:
    """Return a generous limit on the requests of a walk: twelve passes, and narrowing to a second and back."""
    return 12 * -(-len(ids) // page_size) + 8 * 2 * 12 + 40


@pytest.mark.parametrize("page_size", [20, 100])
@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("simultaneous", SIMULTANEOUS)
async def test_records_of_one_second_without_a_tie_breaker(
    connection: Any, simultaneous: int, order: Order, page_size: int
) -> None:
    """Each record of the hour is returned exactly once, with a bounded number of requests."""
    for seed in range(WALKS):
        ids = fill(connection, simultaneous=simultaneous, indexed=False, seed=seed)
        service = Service(connection, order)
        records = await walk(service, page_size)
        lost, doubled = judge(ids, records)
        assert (lost, doubled) == (0, 0), f"seed {seed}: {lost} lost, {doubled} doubled, {service.requests} requests"
        assert service.requests <= most_requests(ids, page_size), f"seed {seed}"


@pytest.mark.parametrize("page_size", [20, 100])
@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("simultaneous", SIMULTANEOUS)
async def test_no_record_is_lost_silently_where_the_plan_changes_between_pages(
    connection: Any, simultaneous: int, order: Order, page_size: int
) -> None:
    """Each record of the hour is returned exactly once, or the window is reported as incomplete.

    With an index, the first pages come from it and the later ones from a sort. In descending order, the one lists the
    records of a second last to first and the other first to last: some are on no page of any size.
    """
    for seed in range(WALKS):
        ids = fill(connection, simultaneous=simultaneous, indexed=True, seed=seed)
        service = Service(connection, order)
        with suppress(IncompleteWindowError):
            records = await walk(service, page_size)
            lost, doubled = judge(ids, records)
            assert (lost, doubled) == (0, 0), f"seed {seed}: {lost} lost, {doubled} doubled"
        assert service.requests <= most_requests(ids, page_size), f"seed {seed}"
