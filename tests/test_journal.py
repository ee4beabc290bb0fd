"""The journal of an export: what is in it stays in it, and belongs to one export."""

import sqlite3
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from itnio_voice import Checkpoint, Window
from itnio_voice.journal import CHUNKS, Journal

ASKED = {"start": "30d", "accounts": ["eu"]}
SETTLED = {"start": "2026-09-01T00:00:00+00:00"}
WINDOW = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC))
BEGUN = Checkpoint("query")
DONE = BEGUN.including([WINDOW])


def opened(path: Path | None, **changes: object) -> Journal:
    """Open a journal."""
    return Journal(path, asked={**ASKED, **changes}, settled=SETTLED)


def test_what_is_added_stays(tmp_path: Path) -> None:
    """Chunks come back stream by stream, each in its order, and with the last checkpoint of each stream."""
    with opened(tmp_path / "state") as journal:
        for stream, chunk in [("us", b"1"), ("eu", b"2"), ("us", b"3")]:
            journal.add(stream, chunk, BEGUN, 1)
        journal.add("us", b"4", DONE, 2)
    with opened(tmp_path / "state") as journal:
        assert [b"2", b"1", b"3", b"4"] == list(journal.chunks())
        assert [b"2", b"1", b"3", b"4"] == list(journal.chunks())
        assert [DONE, BEGUN, None] == [journal.checkpoint(stream) for stream in ("us", "eu", "asia")]
        assert (False, 5) == (journal.finished, journal.records)


def test_settled_once(tmp_path: Path) -> None:
    """What was settled first remains, until the export begins anew."""
    later = {"start": "2026-10-01T00:00:00+00:00"}
    opened(tmp_path / "state").__exit__(None, None, None)
    with Journal(tmp_path / "state", asked=ASKED, settled=later) as journal:
        assert SETTLED == journal.settled
        journal.add("eu", b"1", DONE, 7)
        journal.finish("digest")
        assert (True, []) == (journal.finished, list(journal.chunks()))
        assert ("digest", 7) == (journal.digest, journal.records)
        journal.restart(later)
        assert (False, None, 0) == (journal.finished, journal.checkpoint("eu"), journal.records)
        assert later == journal.settled


def test_chunks_are_not_held(tmp_path: Path) -> None:
    """Chunks are read one after another: all of them at once need not fit into memory."""
    tracemalloc.start()
    with opened(tmp_path / "state") as journal:
        for number in range(20):
            journal.add("us", bytes([number]) * 1_000_000, BEGUN, 1)
        plan = journal._database.execute(f"EXPLAIN QUERY PLAN {CHUNKS}").fetchall()

        assert ["SCAN chunks USING INDEX by_stream"] == [row[-1] for row in plan]
        assert 20_000_000 == sum(len(chunk) for chunk in journal.chunks())
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path it leaves no file."""
    monkeypatch.chdir(tmp_path)
    with opened(None) as journal:
        journal.add("eu", b"1", BEGUN, 1)

        assert [b"1"] == list(journal.chunks())
        assert [] == list(tmp_path.iterdir())


def test_of_another_export(tmp_path: Path) -> None:
    """A journal that was begun for something else is refused, and says for what."""
    opened(tmp_path / "state").__exit__(None, None, None)
    with pytest.raises(
        ValueError, match=r'another export \(start: "30d", not "31d"\).* delete .*state to start afresh'
    ):
        opened(tmp_path / "state", start="31d")


def test_no_journal(tmp_path: Path) -> None:
    """A file that is something else is refused, and stays as it is."""
    path = tmp_path / "state"
    path.write_text("my notes, which are longer than the hundred bytes of a database's header, " * 9)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"damaged, or not the state of an export .*: delete it to start afresh"):
        opened(path)

    assert before == path.read_bytes()


def test_another_database(tmp_path: Path) -> None:
    """So is a database of somebody else's."""
    path = tmp_path / "state"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE export (mine TEXT)")
    database.commit()
    database.close()
    with pytest.raises(OSError, match="it has other tables"):
        opened(path)


def test_one_at_a_time(tmp_path: Path) -> None:
    """Two exports cannot use one journal, and a folder that is not there is an error at once."""
    with opened(tmp_path / "state"), pytest.raises(OSError, match="is in use by another export"):
        opened(tmp_path / "state")
    with pytest.raises(OSError, match="cannot be written: No such file or directory"):
        opened(tmp_path / "none" / "state")
