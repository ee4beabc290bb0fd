"""The store: every query uses an index made for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from itnio_voice.sandbox import Behaviour
from itnio_voice.sandbox._data.store import Selection, Store

RANGE = Selection("a", "group", Behaviour(), now=1e9, start=0, end=1e9)


@pytest.fixture
def store() -> Iterator[Store]:
    """Return a store with a record, so that its indexes exist."""
    store = Store()
    store.insert([{"voiceId": "1", "submitTime": "2001-01-01T00:00:00Z"}], kind="group", account="a")
    yield store
    store.close()


def plan(store: Store, selection: Selection, sql: str = "SELECT COUNT(*) FROM ({})") -> str:
    """Return SQLite's query plan."""
    rows = store._all(f"EXPLAIN QUERY PLAN {sql}".format(selection.query), selection.values)  # pyright: ignore[reportPrivateUsage]
    return "\n".join(row[-1] for row in rows)


@pytest.mark.parametrize(
    ("selects_by", "index"),
    [("submit_time", "by_submitted"), ("call_time", "by_called"), ("hangup_time", "by_hung_up")],
)
def test_counts_touch_no_record(store: Store, selects_by: Any, index: str) -> None:
    """Counting uses only the index of the selected time."""
    selection = attrs.evolve(RANGE, behaviour=Behaviour(selects_by=selects_by))

    assert f"USING COVERING INDEX {index}" in plan(store, selection)


@pytest.mark.parametrize("direction", ["", " DESC"])
def test_pages_are_not_sorted(store: Store, direction: str) -> None:
    """The index is in the order of pages: a deep page is reached without sorting."""
    steps = plan(store, RANGE, f"SELECT * FROM ({{}}) ORDER BY at{direction}, id{direction} LIMIT 1 OFFSET 9")  # noqa: S608

    assert "by_submitted" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize(("column", "index"), [("voice_id", "by_voice_id"), ("file", "by_file")])
def test_single_records_are_looked_up(store: Store, column: str, index: str) -> None:
    """A record is found by its own index, without a scan."""
    selection = Selection("a", "group", Behaviour(), now=1e9, filters={column: "1"})

    assert f"USING INDEX {index}" in plan(store, selection)


def test_an_old_file_gets_the_missing_column(tmp_path: Path) -> None:
    """A file of an earlier version gets the missing column."""
    file = tmp_path / "records.db"
    old = Store(file)
    old._connection.execute("ALTER TABLE records DROP COLUMN arrived")  # pyright: ignore[reportPrivateUsage]
    old.close()
    store = Store(file)
    store.insert([{"voiceId": "1", "submitTime": "2001-09-01T00:00:00Z"}], kind="group", account="a")

    assert [store.count(attrs.evolve(RANGE, lag=lag)) for lag in (0, 1)] == [1, 1]
    store.close()
