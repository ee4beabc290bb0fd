"""The documentation's data job: killed, repeated or concurrent, it stores each record once."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import psycopg2
import pytest

from itnio_voice import VoiceSession
from itnio_voice.sandbox import Behaviour, Sandbox
from tests.conftest import environment_of
from tests.support.postgres import PROGRAMS, postgres

from .loading import EXAMPLES, load

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

KILLS = int(os.environ.get("ITNIO_KILLS", "2"))
END = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
START = END - timedelta(days=30)
LONG = "12345678901234567890.123456789012345678"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox with a limit of one day, with its account in the environment; some days have no calls."""
    with Sandbox(
        records=900, start=START + timedelta(days=5), end=END, behaviour=Behaviour(max_span=timedelta(days=1))
    ) as sandbox:
        sandbox.insert({"cost": LONG, "submitTime": (END - timedelta(days=3)).isoformat()})
        for name, value in environment_of(sandbox).items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def data_job() -> ModuleType:
    """Return the example."""
    return load("data_job")


def connect(address: str) -> Any:
    """Connect to either kind of database."""
    return psycopg2.connect(address) if address.startswith("postgresql") else sqlite3.connect(address)


async def check(address: str) -> None:
    """Compare the table with the sandbox's records, to the last digit."""
    async with VoiceSession.from_env() as session:
        records = await session.records(START, END).collect()
    with closing(connect(address)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT voice_id, cost FROM calls")
        rows = cursor.fetchall()

    assert len(records) == len(rows)
    assert Decimal(LONG) in [record.cost for record in records]
    costs = {name: None if cost is None else Decimal(cost) for name, cost in rows}
    assert {record.voice_id: record.cost for record in records} == costs


@pytest.mark.parametrize(
    "kind",
    [
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed")),
    ],
)
async def test_a_killed_job_can_be_repeated(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """After being killed at random times and run again, twice, each record is stored once."""
    if kind == "sqlite":
        await _kill(sandbox, str(tmp_path / "calls.db"))
    else:
        with postgres() as address:
            await _kill(sandbox, address)


async def _kill(sandbox: Sandbox, address: str) -> None:
    chance = random.Random(str(tuple(sandbox.accounts)) + address[:6])
    command = [sys.executable, str(EXAMPLES / "data_job.py"), address, START.isoformat(), END.isoformat()]
    sandbox.behaviour = Behaviour(max_span=timedelta(days=1), latency=0.01)
    for _ in range(KILLS):
        requests = len(sandbox.requests) + chance.randint(1, 30)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
            while process.poll() is None and len(sandbox.requests) < requests:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
    last = [subprocess.check_output(command, text=True) for _ in range(2)]  # noqa: S603

    assert "0 records written\n" == last[1]
    await check(address)


async def test_an_end_in_the_future_is_reported(
    sandbox: Sandbox, tmp_path: Path, data_job: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The part that is not over yet is reported, and a later run of the same command reads it."""
    address, end = str(tmp_path / "calls.db"), datetime.now(UTC) + timedelta(hours=1)
    first = await data_job.run(address, START, end)
    output = capsys.readouterr().out
    sandbox.insert({"submitTime": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()})
    found = 0
    while not found:
        await anyio.sleep(0.5)
        found = await data_job.run(address, START, end)

    assert (len(sandbox.ids(START, END)), 1) == (first, found)
    assert output.startswith("read up to ")
    assert output.endswith(f"; run the command again after {end.replace(microsecond=0)} for the rest\n")
    assert 0 == await data_job.run(address, START + timedelta(seconds=0.2), START + timedelta(seconds=0.7))


async def test_one_of_two_concurrent_jobs_gives_up(sandbox: Sandbox, tmp_path: Path, data_job: ModuleType) -> None:
    """One of two concurrent runs gives up, and its records are not stored twice."""
    address = str(tmp_path / "calls.db")
    other: list[int] = []

    class Late(data_job.Database):  # type: ignore[name-defined, misc]  # of a module that is loaded by its path
        """A database into which another run writes between this one's first window and its writing."""

        def write(self, *arguments: Any) -> None:
            if not other:
                command = [sys.executable, str(EXAMPLES / "data_job.py"), address, START.isoformat(), END.isoformat()]
                other.append(int(subprocess.check_output(command, text=True).split()[0]))  # noqa: S603
            super().write(*arguments)

    data_job.Database = Late  # type: ignore[attr-defined]  # as above
    with pytest.raises(RuntimeError, match="another run"):
        await data_job.run(address, START, END)

    assert [len(sandbox.ids(START, END))] == other
    await check(address)
