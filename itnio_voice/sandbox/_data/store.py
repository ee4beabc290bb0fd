"""The records in SQLite: what a range selects, counts and lists, and which records are visible at a time."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any

import attrs

from .._service.rules import oldest
from ..behaviour import Appears, Behaviour, Order, SelectsBy
from .dataset import VENDOR_TIME, Kind
from .heap import lowest

__all__ = ["FILTERS", "Row", "Selection", "Store"]

# Each record's wire JSON, and the columns that queries use: Unix seconds of its times, and two draws of 0 to 2^32 - 1
# from its id, which say whether it is among the late ones and among those held twice. `arrived` is when it was
# inserted, 0 for the data set that a sandbox begins with.
_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    voice_id TEXT NOT NULL,
    submitted INTEGER NOT NULL,
    called INTEGER NOT NULL,
    hung_up INTEGER NOT NULL,
    finished INTEGER,
    late INTEGER NOT NULL,
    twice INTEGER NOT NULL,
    sip_group TEXT,
    phone TEXT,
    file TEXT,
    wire TEXT NOT NULL,
    arrived REAL NOT NULL DEFAULT 0
)
"""
_ADD_ARRIVED = "ALTER TABLE records ADD COLUMN arrived REAL NOT NULL DEFAULT 0"

# The first three are in the order of pages and hold every column that a range query uses, so that counting and
# skipping never touch the records themselves.
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS by_submitted ON records (account, kind, submitted, id, finished, late)",
    "CREATE INDEX IF NOT EXISTS by_called ON records (account, kind, called, id, submitted, finished, late)",
    "CREATE INDEX IF NOT EXISTS by_hung_up ON records (account, kind, hung_up, id, submitted, finished, late)",
    "CREATE INDEX IF NOT EXISTS by_voice_id ON records (voice_id, account, kind)",
    "CREATE INDEX IF NOT EXISTS by_file ON records (file, account, kind)",
)

_ROW = (
    "account, kind, voice_id, submitted, called, hung_up, finished, late, twice, sip_group, phone, file, wire, arrived"
)
_INSERT = f"INSERT INTO records ({_ROW}) VALUES ({', '.join('?' * len(_ROW.split(', ')))})"
_REPLACE = f"INSERT OR REPLACE INTO records (id, {_ROW}) VALUES (?, {', '.join('?' * len(_ROW.split(', ')))})"

_DRAWS = 2**32

_COLUMN: Mapping[SelectsBy, str] = {"submit_time": "submitted", "call_time": "called", "hangup_time": "hung_up"}
_FROM: Mapping[str, str] = {"[": ">=", "(": ">"}
_TO: Mapping[str, str] = {"]": "<=", ")": "<"}
# A call in progress has no `finished`. NULL plus a number is never before now, so the call is not visible.
_SEEN_FROM: Mapping[Appears, str] = {"submitted": "submitted", "finished": "finished"}
_ORDER: Mapping[Order, str] = {
    "ascending": "at, id",
    "descending": "at DESC, id DESC",
    "unstable": "at, (id * :salt) % 2147483647",
    "heap": "id",  # the order of the table; the heap sorts by time
    "by_id": "voice_id, id",
    "by_hash": "late, twice, id",  # two draws from a hash of the id
}
FILTERS: Mapping[str, str] = {"sipGroupName": "sip_group", "phoneName": "phone"}
"""The filters of the phone records, by wire name, with their columns."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Row = tuple[str, int]
"""A record as JSON text, and when it was submitted, in Unix seconds."""


@attrs.frozen
class Selection:
    """A range of an account's records as seen at `now`; Unix seconds, `filters` by column.

    Where `start` or `end` is None, there is no such end. `lag` is how many seconds the replica that answers is behind.
    """

    account: str
    kind: Kind
    behaviour: Behaviour
    now: float
    start: float | None = None
    end: float | None = None
    filters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    lag: float = 0.0

    @property
    def values(self) -> dict[str, Any]:
        """The values of the parameters in the query."""
        behaviour = self.behaviour
        return {
            "account": self.account,
            "kind": self.kind,
            "start": self.start,
            "end": self.end,
            "now": self.now - self.lag,
            "late": behaviour.late_share * _DRAWS,
            "late_by": behaviour.late_by,
            "oldest": oldest(behaviour, self.now),
            "twice": behaviour.duplicates * _DRAWS,
            **self.filters,
        }

    @property
    def query(self) -> str:
        """The query for the range's records, in no order."""
        column = _COLUMN[self.behaviour.selects_by]
        # The sort columns of the other orders are selected only for them, because no index of times has them.
        more = ", voice_id, late, twice" if self.behaviour.order in {"by_id", "by_hash"} else ""
        select = f"SELECT id, {column} AS at, submitted, wire{more} FROM records WHERE {self.in_range} AND {self._seen}"
        select += "".join(f" AND {name} = :{name}" for name in self.filters)
        return f"{select} UNION ALL {select} AND twice < :twice" if self.behaviour.duplicates else select

    @property
    def in_range(self) -> str:
        """The condition for a record of the range, visible or not."""
        behaviour = self.behaviour
        column, ends = _COLUMN[behaviour.selects_by], behaviour.ends
        since = "" if self.start is None else f" AND {column} {_FROM[ends[0]]} :start"
        until = "" if self.end is None else f" AND {column} {_TO[ends[1]]} :end"
        return f"account = :account AND kind = :kind{since}{until}"

    @property
    def _seen(self) -> str:
        behaviour = self.behaviour
        # The plus keeps SQLite from using an index of times here: a query by id then reads only that id's rows.
        kept = f"+{_COLUMN[behaviour.selects_by]} >= :oldest"
        arrived = " AND arrived <= :now" if self.lag else ""
        return f"{kept} AND {_SEEN_FROM[behaviour.appears]} + (late < :late) * :late_by <= :now{arrived}"


class Store:
    """Records of several accounts and both kinds, in memory or in a file; any thread may use it."""

    def __init__(self, database: str | Path = ":memory:") -> None:
        self._lock = RLock()
        self._connection = sqlite3.connect(database, check_same_thread=False)
        # The data can be generated again from its seed, so it need not survive a crash.
        self._connection.execute("PRAGMA journal_mode = MEMORY")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(_TABLE)
        if "arrived" not in {column[1] for column in self._all("PRAGMA table_info(records)")}:
            self._connection.execute(_ADD_ARRIVED)

    @property
    def unchanged(self) -> AbstractContextManager[object]:
        """A `with` block in which no other thread changes the records."""
        return self._lock

    def close(self) -> None:
        """Close the database; records in memory are lost."""
        with self._lock:
            self._connection.close()

    def __len__(self) -> int:
        """Return how many records there are, of all accounts and both kinds."""
        return self._number("SELECT COUNT(*) FROM records")

    def insert(self, records: Iterable[Mapping[str, Any]], *, kind: Kind, account: str, arrived: float = 0.0) -> None:
        """Add records in wire format, which arrived at a time in Unix seconds.

        Raises:
            ValueError: for one whose `submitTime` cannot be read.
        """
        with self._lock, self._connection:
            self._connection.executemany(_INSERT, _rows(records, kind, account, arrived))
            for index in _INDEXES:
                self._connection.execute(index)

    def delete(self, voice_ids: Iterable[str]) -> int:
        """Remove the records with these ids, of every account and kind; return how many there were."""
        with self._lock, self._connection:
            removed = self._connection.executemany(
                "DELETE FROM records WHERE voice_id = ?", [(voice_id,) for voice_id in voice_ids]
            )
            return removed.rowcount

    def update(self, voice_id: str, fields: Mapping[str, Any]) -> int:
        """Change wire fields of the records with this id; return their number. `...` removes a field."""
        with self._lock, self._connection:
            found = self._all(
                "SELECT id, account, kind, submitted, arrived, wire FROM records WHERE voice_id = :voice_id",
                {"voice_id": voice_id},
            )
            for row, account, kind, submitted, arrived, wire in found:
                merged = json.loads(wire) | dict(fields)
                record = {name: value for name, value in merged.items() if value is not ...}
                at = _seconds(record.get("submitTime"))
                new = _row(record, kind, account, submitted if at is None else at, arrived)
                self._connection.execute(_REPLACE, (row, *new))
            return len(found)

    def ids(self, selection: Selection) -> set[str]:
        """Return the ids of all records in a range, visible or not."""
        sql = f"SELECT voice_id FROM records WHERE {selection.in_range}"
        return {voice_id for (voice_id,) in self._all(sql, selection.values)}

    def count(self, selection: Selection) -> int:
        """Return how many records a range has."""
        return self._number(f"SELECT COUNT(*) FROM ({selection.query})", selection.values)

    def page(self, selection: Selection, *, limit: int, offset: int, salt: int) -> list[Row]:
        """Return a page of a range; `salt` shuffles the records of a second where the order is unstable."""
        order = _ORDER[selection.behaviour.order]
        if selection.behaviour.order == "heap":
            rows = self._all(f"SELECT at, wire, submitted FROM ({selection.query}) ORDER BY {order}", selection.values)
            return [(wire, submitted) for _, wire, submitted in lowest(rows, offset + limit)[offset:]]
        return self._all(
            f"SELECT wire, submitted FROM ({selection.query}) ORDER BY {order} LIMIT :limit OFFSET :offset",
            {**selection.values, "limit": limit, "offset": offset, "salt": salt},
        )

    def find(self, selection: Selection) -> Row | None:
        """Return a record that fits the selection's filters, None if none is visible."""
        rows = self._all(f"SELECT wire, submitted FROM ({selection.query}) LIMIT 1", selection.values)
        return rows[0] if rows else None

    def _number(self, sql: str, values: Mapping[str, Any] | None = None) -> int:
        return int(self._all(sql, values)[0][0])

    def _all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values or {}).fetchall()


def _rows(records: Iterable[Mapping[str, Any]], kind: Kind, account: str, arrived: float) -> Iterator[tuple[Any, ...]]:
    for record in records:
        submitted = _seconds(record.get("submitTime"))
        if submitted is None:
            message = f"a record needs a submit time in ISO 8601, not {record.get('submitTime')!r}"
            raise ValueError(message)
        yield _row(record, kind, account, submitted, arrived)


def _row(record: Mapping[str, Any], kind: Kind, account: str, submitted: int, arrived: float) -> tuple[Any, ...]:
    wire = _encode(record)
    voice_id = record.get("voiceId")
    called = _seconds(record.get("callTime"))
    hung_up = _seconds(record.get("hangupTime"))
    finished = hung_up
    if finished is None and record.get("terminationCode"):
        finished = submitted
    # Without an id, a record is identified by its content.
    draws = int.from_bytes(blake2b(str(voice_id or wire).encode(), digest_size=8).digest())
    return (
        account,
        kind,
        "" if voice_id is None else str(voice_id),
        submitted,
        submitted if called is None else called,
        submitted if hung_up is None else hung_up,
        finished,
        draws // _DRAWS,
        draws % _DRAWS,
        record.get("sipGroupName"),
        record.get("phoneName"),
        record.get("voiceFileId" if kind == "group" else "recordingFileId"),
        wire,
        arrived,
    )


def _seconds(text: object) -> int | None:
    """Read a time as Unix seconds, in the vendor's offset if it has none; None if it is not one."""
    if not isinstance(text, str) or not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=VENDOR_TIME)).timestamp())
