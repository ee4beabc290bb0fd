"""The documentation's loads of a day into PostgreSQL: with each tool, a day is in the table once, exact."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import pytest

from itnio_voice.sandbox import Sandbox
from tests.conftest import environment_of
from tests.support.postgres import PROGRAMS, postgres

from .loading import load

pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: apt-get install postgresql")
DAY = datetime.now(UTC).date() - timedelta(days=2)
MIDNIGHT = datetime.combine(DAY, time(), UTC)
NOON = MIDNIGHT + timedelta(hours=12)
HOSTILE = "'); DROP TABLE calls; --"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Run a PostgreSQL server."""
    with postgres() as address:
        yield address


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox with two days of calls, and its account in the environment."""
    with Sandbox(records=300, start=MIDNIGHT, end=MIDNIGHT + timedelta(days=2)) as sandbox:
        odd = {"voiceId": "odd", "callee": HOSTILE, "cost": "9999999999.99999999"}
        sandbox.insert(odd | {"submitTime": NOON.isoformat()})
        for name, value in environment_of(sandbox).items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.mark.parametrize("tool", ["adbc", "sqlalchemy"])
def test_a_day_is_in_the_table_once(tool: str, address: str, sandbox: Sandbox) -> None:
    """A day that is loaded again is replaced; other days stay, amounts are exact, and text is only text."""
    pytest.importorskip({"adbc": "adbc_driver_postgresql"}.get(tool, tool))
    job: Any = load("day_to_postgres")
    connection = psycopg2.connect(address)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS calls")
        written = [job.LOADERS[tool](address, day) for day in (DAY, DAY + timedelta(days=1), DAY)]
        cursor.execute("SELECT day, count(*), count(DISTINCT voice_id) FROM calls GROUP BY day ORDER BY day")
        rows = cursor.fetchall()
        cursor.execute(
            "SELECT callee, cost, submit_time, data_type FROM calls, information_schema.columns"
            " WHERE voice_id = 'odd' AND table_name = 'calls' AND column_name = 'cost'"
        )
        odd = cursor.fetchall()
        cursor.execute("SELECT voice_id FROM calls")
        ids = {name for (name,) in cursor}
    connection.close()

    assert written[0] == written[2] > 100
    assert [(DAY, written[0], written[0]), (DAY + timedelta(days=1), written[1], written[1])] == rows
    assert [(HOSTILE, Decimal("9999999999.99999999"), NOON, "numeric")] == odd
    assert sandbox.ids(MIDNIGHT, MIDNIGHT + timedelta(days=2)) == ids
