"""Load call records into a table: each window is written with the checkpoint after it, in one transaction.

    python data_job.py records.db                             # yesterday, in UTC
    python data_job.py records.db START END                   # two times with an offset, in ISO 8601
    python data_job.py postgresql://loader@db.example.com/calls

The job can be killed at any time: the same command continues, and each record is in the table once. If two runs of a
job overlap, one of them fails. The account is in ITNIO_API_KEY and ITNIO_API_SECRET. END should be some minutes ago, so
that records that appear late are included. If END is in the future, the job reads up to the server's time and reports
it: run the same command later to read the rest.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from itnio_voice import Checkpoint, VoiceSession

COLUMNS = {
    "voice_id": "TEXT",
    "callee": "TEXT",
    "submit_time": "TIME",
    "call_duration": "BIGINT",
    "cost": "AMOUNT",
    "currency": "TEXT",
}


@attrs.frozen
class Database:
    """A connection of Python's database API (PEP 249), and the differences of its SQL dialect.

    SQLite has no decimal type and would store amounts as binary fractions, so they are text there.
    """

    connection: Any
    placeholder: str
    types: dict[str, str]

    @classmethod
    def connect(cls, address: str) -> "Database":
        """Connect to PostgreSQL by its address, or to a file of SQLite."""
        if address.startswith("postgresql://"):
            import psycopg2  # only PostgreSQL needs it

            return cls(psycopg2.connect(address), "%s", {"TIME": "TIMESTAMPTZ", "AMOUNT": "NUMERIC"})
        return cls(sqlite3.connect(address), "?", {"TIME": "TEXT", "AMOUNT": "TEXT"})

    def create(self, job: str, checkpoint: Checkpoint) -> None:
        """Create the tables and the initial state of the job, unless they exist."""
        columns = ", ".join(f"{name} {self.types.get(kind, kind)}" for name, kind in COLUMNS.items())
        self.execute(f"CREATE TABLE IF NOT EXISTS calls ({columns})")
        self.execute("CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, checkpoint TEXT NOT NULL)")
        self.execute("INSERT INTO jobs VALUES (?, ?) ON CONFLICT (job) DO NOTHING", (job, str(checkpoint)))
        self.connection.commit()

    def checkpoint(self, job: str) -> Checkpoint:
        """Return the checkpoint of a job."""
        (text,) = self.execute("SELECT checkpoint FROM jobs WHERE job = ?", (job,)).fetchone()
        self.connection.commit()
        return Checkpoint.parse(text)

    def write(self, job: str, before: Checkpoint, after: Checkpoint, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows and the checkpoint after them in one transaction.

        Raises:
            RuntimeError: if another run has written since `before` was read.
        """
        moved = self.execute(
            "UPDATE jobs SET checkpoint = ? WHERE job = ? AND checkpoint = ?", (str(after), job, str(before))
        )
        if moved.rowcount != 1:
            self.connection.rollback()
            message = f"another run of {job!r} is writing: wait until it has ended"
            raise RuntimeError(message)
        marks = ", ".join("?" * len(COLUMNS))
        for row in rows:
            self.execute(f"INSERT INTO calls VALUES ({marks})", row)
        self.connection.commit()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Execute a statement and return its cursor."""
        cursor = self.connection.cursor()
        cursor.execute(statement.replace("?", self.placeholder), parameters)
        return cursor


def yesterday() -> tuple[datetime, datetime]:
    """Return the start and the end of yesterday, in UTC."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1), today


async def run(address: str, start: datetime, end: datetime) -> int:
    """Read the part of a range that is not in the table yet; return the number of records written."""
    job = f"voice messages from {start.isoformat()} to {end.isoformat()}"
    written = 0
    database = Database.connect(address)
    with closing(database.connection):
        async with VoiceSession.from_env() as session:
            database.create(job, session.records(start, end).checkpoint)
            done = database.checkpoint(job)
            stream = session.records(start, end, resume=done)
            async for batch in stream.windows():
                # No task of the session runs between two windows, so this may block.
                rows = [[record[name] for name in COLUMNS] for record in (call.to_dict() for call in batch.records)]
                database.write(job, done, batch.checkpoint, rows)
                done = batch.checkpoint
                written += len(rows)
    if unread := stream.unread:
        print(f"read up to {unread[0].start}; run the command again after {unread[-1].end} for the rest")
    return written


if __name__ == "__main__":
    _, where, *times = sys.argv
    print(asyncio.run(run(where, *(map(datetime.fromisoformat, times) if times else yesterday()))), "records written")
