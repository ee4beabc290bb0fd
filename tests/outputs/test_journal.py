"""The journal of an export: what is in it stays in it, and belongs to one export."""

import os
import sqlite3
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from itnio_voice import Checkpoint, Window
from itnio_voice.outputs._journal import Journal, _seal

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


@pytest.mark.parametrize("repetitions", [1, 100])
def test_no_journal(tmp_path: Path, repetitions: int) -> None:
    """A file that is something else is refused, and stays as it is."""
    path = tmp_path / "state"
    path.write_text("my notes" * repetitions)
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


# Damage and attacks


def edited(path: Path, *statements: str) -> None:
    """Edit a journal as a user with another program could."""
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def filled(path: Path) -> None:
    """Write a journal of several chunks."""
    with opened(path) as journal:
        for chunk in (b"1", b"2", b"3"):
            journal.add("eu", chunk, DONE, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chunks SET chunk = '/etc/passwd'",
        "UPDATE chunks SET chunk = x'00' WHERE id = 2",
        "UPDATE chunks SET chunk = NULL",
        "UPDATE chunks SET stream = 'us' WHERE id = 3",
        "UPDATE chunks SET records = 2 WHERE id = 1",
        "UPDATE chunks SET records = 'x'",
        "UPDATE chunks SET checkpoint = 'done'",
        "UPDATE chunks SET checkpoint = CAST(x'ff1b5b' AS TEXT)",
        "UPDATE chunks SET seal = 1",
        "UPDATE chunks SET id = id + 10 WHERE id = 1",
        "DELETE FROM chunks WHERE id = 2",
        "INSERT INTO chunks SELECT 9, stream, records, checkpoint, chunk, seal FROM chunks WHERE id = 3",
        "UPDATE export SET settled = '{}'",
        "UPDATE export SET settled = 7",
        "UPDATE export SET digest = 'finished'",
        "UPDATE export SET records = 5",
        "DELETE FROM export",
        "INSERT INTO export SELECT * FROM export",
        "DROP TABLE chunks",
        "CREATE INDEX by_stream ON chunks (stream)",
        "CREATE TRIGGER lose AFTER INSERT ON chunks BEGIN DELETE FROM chunks; END",
    ],
)
def test_an_edited_value_is_refused(tmp_path: Path, statement: str) -> None:
    """A value that was edited, and a row that was removed or doubled, is an error that names the file."""
    path = tmp_path / "state"
    filled(path)
    edited(path, statement)
    before = path.read_bytes()

    with pytest.raises(OSError, match=rf"^{path} is damaged.*: delete it to start afresh") as raised:
        opened(path)
    assert str(raised.value).isprintable()
    assert before == path.read_bytes()


def test_rows_of_the_last_windows_can_be_missing(tmp_path: Path) -> None:
    """Without its last rows the journal is that of an earlier time: their windows are read again."""
    filled(tmp_path / "state")
    edited(tmp_path / "state", "DELETE FROM chunks WHERE id = 3")

    with opened(tmp_path / "state") as journal:
        assert ([b"1", b"2"], 2) == (list(journal.chunks()), journal.records)


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """A journal with a damaged byte or a lost end is refused, or holds what it held."""
    path = tmp_path / "state"
    filled(path)
    text = path.read_bytes()
    for place in range(0, len(text), 97):
        path.write_bytes(text[:place] + bytes([text[place] ^ 255]) + text[place + 1 :])
        _assert_refused_or_same(path)
        path.write_bytes(text[: place + 1])
        _assert_refused_or_same(path)


def _assert_refused_or_same(path: Path) -> None:
    try:
        journal = opened(path)
    except OSError as error:
        assert "delete it to start afresh" in str(error)  # noqa: PT017 -- one of two outcomes
        return
    with journal:
        assert ([b"1", b"2", b"3"], DONE) == (list(journal.chunks()), journal.checkpoint("eu"))


def test_a_text_chunk_with_the_right_seal(tmp_path: Path) -> None:
    """A chunk that is text is refused even with a seal that fits: a reader could take it for the path of a file."""
    filled(tmp_path / "state")
    database = sqlite3.connect(tmp_path / "state")
    (first,) = database.execute("SELECT seal FROM export").fetchone()
    seal = _seal(first, "eu", 1, str(DONE), "/etc/passwd")
    database.execute("DELETE FROM chunks WHERE id > 1")
    database.execute("UPDATE chunks SET chunk = '/etc/passwd', seal = ?", [seal])
    database.commit()
    database.close()

    with pytest.raises(OSError, match="a chunk of records was changed"):
        opened(tmp_path / "state")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """The file and SQLite's own beside it are private, also where an earlier version had made it readable."""
    path = tmp_path / "state"
    for _ in range(2):
        with opened(path) as journal:
            journal.add("eu", b"1", BEGUN, 1)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
            assert {"state": 0o600, "state-journal": 0o600} == modes
        path.chmod(0o644)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: Path(path).symlink_to("victim")])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A link is not followed, and a folder or a pipe is an error."""
    make(tmp_path / "state")
    with pytest.raises(OSError, match="is not a regular file"):
        opened(tmp_path / "state")
    assert not (tmp_path / "victim").exists()


def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk the error says so; what was added before stays."""
    with opened(tmp_path / "state") as journal:
        journal.add("eu", b"1", BEGUN, 1)
        journal._database.execute("PRAGMA max_page_count = 6")
        with pytest.raises(OSError, match=r"state cannot be written: the disk is full\. Free some space"):
            journal.add("eu", bytes(100_000), DONE, 1)
        assert (BEGUN, 1) == (journal.checkpoint("eu"), journal.records)
    with opened(tmp_path / "state") as journal:
        assert ([b"1"], BEGUN) == (list(journal.chunks()), journal.checkpoint("eu"))


def test_one_at_a_time_also_when_it_is_opened_again(tmp_path: Path) -> None:
    """The lock is held from the opening on, and no failed attempt of the same process releases it."""
    filled(tmp_path / "state")
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM export')"
    with opened(tmp_path / "state"):
        with pytest.raises(OSError, match="is in use by another export"):
            opened(tmp_path / "state")
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", script, str(tmp_path / "state")], capture_output=True, text=True, check=False
        )
    assert "database is locked" in done.stderr
