"""The journal of an export: stored chunks are durable, and belong to one export."""

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

REQUEST = {"start": "30d", "accounts": ["eu"]}
RESOLVED = {"start": "2026-09-01T00:00:00+00:00"}
WINDOW = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC))
BEGUN = Checkpoint("query")
DONE = BEGUN.including([WINDOW])


def opened(path: Path | None, **changes: object) -> Journal:
    """Open a journal."""
    return Journal(path, request={**REQUEST, **changes}, resolved=RESOLVED)


def test_added_chunks_are_durable(tmp_path: Path) -> None:
    """Chunks are returned stream by stream, in order, with the last checkpoint of each stream."""
    with opened(tmp_path / "state") as journal:
        for stream, chunk in [("us", b"1"), ("eu", b"2"), ("us", b"3")]:
            journal.add(stream, chunk, BEGUN, 1)
        journal.add("us", b"4", DONE, 2)
    with opened(tmp_path / "state") as journal:
        assert [b"2", b"1", b"3", b"4"] == list(journal.chunks())
        assert [b"2", b"1", b"3", b"4"] == list(journal.chunks())
        assert [DONE, BEGUN, None] == [journal.checkpoint(stream) for stream in ("us", "eu", "asia")]
        assert (False, 5) == (journal.finished, journal.records)


def test_the_first_resolved_values_remain(tmp_path: Path) -> None:
    """The first resolved values remain, until the export starts again."""
    later = {"start": "2026-10-01T00:00:00+00:00"}
    opened(tmp_path / "state").__exit__(None, None, None)
    with Journal(tmp_path / "state", request=REQUEST, resolved=later) as journal:
        assert RESOLVED == journal.resolved
        journal.add("eu", b"1", DONE, 7)
        journal.finish("digest")
        assert (True, []) == (journal.finished, list(journal.chunks()))
        assert ("digest", 7) == (journal.digest, journal.records)
        journal.restart(later)
        assert (False, None, 0) == (journal.finished, journal.checkpoint("eu"), journal.records)
        assert later == journal.resolved


def test_chunks_are_read_one_by_one(tmp_path: Path) -> None:
    """Chunks are read one by one: they need not fit into memory together."""
    tracemalloc.start()
    with opened(tmp_path / "state") as journal:
        for number in range(20):
            journal.add("us", bytes([number]) * 1_000_000, BEGUN, 1)

        assert 20_000_000 == sum(len(chunk) for chunk in journal.chunks())
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_without_a_path_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path, no file is left."""
    monkeypatch.chdir(tmp_path)
    with opened(None) as journal:
        journal.add("eu", b"1", BEGUN, 1)

        assert [b"1"] == list(journal.chunks())
        assert [] == list(tmp_path.iterdir())


def test_a_journal_of_another_export_is_refused(tmp_path: Path) -> None:
    """A journal of another export is refused, and the error names that export."""
    opened(tmp_path / "state").__exit__(None, None, None)
    with pytest.raises(
        ValueError, match=r'another export \(start: "30d", not "31d"\).* delete .*state to start afresh'
    ):
        opened(tmp_path / "state", start="31d")


@pytest.mark.parametrize("repetitions", [1, 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, repetitions: int) -> None:
    """A file of another kind is refused, and is unchanged."""
    path = tmp_path / "state"
    path.write_text("my notes" * repetitions)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"damaged, or not the state of an export .*: delete it to start afresh"):
        opened(path)

    assert before == path.read_bytes()


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A database of another program is refused as well."""
    path = tmp_path / "state"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE export (mine TEXT)")
    database.commit()
    database.close()
    with pytest.raises(OSError, match="it has other tables"):
        opened(path)


def test_two_exports_cannot_share_a_journal(tmp_path: Path) -> None:
    """Two exports cannot share a journal, and a missing folder is an error at once."""
    with opened(tmp_path / "state"), pytest.raises(OSError, match="is in use by another export"):
        opened(tmp_path / "state")
    with pytest.raises(OSError, match="cannot be written: No such file or directory"):
        opened(tmp_path / "none" / "state")


# Damage and attacks


def edit(path: Path, *statements: str) -> None:
    """Edit a journal, as a user could with another program."""
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def filled(path: Path) -> None:
    """Write a journal with several chunks."""
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
        "UPDATE export SET resolved = '{}'",
        "UPDATE export SET resolved = 7",
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
    """An edit value, and a removed or duplicated row, is an error that names the file."""
    path = tmp_path / "state"
    filled(path)
    edit(path, statement)
    before = path.read_bytes()

    with pytest.raises(OSError, match=rf"^{path} is damaged.*: delete it to start afresh") as raised:
        opened(path)
    assert str(raised.value).isprintable()
    assert before == path.read_bytes()


def test_rows_of_the_last_windows_can_be_missing(tmp_path: Path) -> None:
    """Without its last rows, a journal is in an earlier state: their windows are read again."""
    filled(tmp_path / "state")
    edit(tmp_path / "state", "DELETE FROM chunks WHERE id = 3")

    with opened(tmp_path / "state") as journal:
        assert ([b"1", b"2"], 2) == (list(journal.chunks()), journal.records)


def test_every_damaged_byte_is_detected_or_harmless(tmp_path: Path) -> None:
    """A journal with a damaged byte or a missing end is refused, or has the same chunks."""
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


def test_a_text_chunk_with_a_valid_seal_is_refused(tmp_path: Path) -> None:
    """A text chunk is refused even with a valid seal: a reader could use it as the path of a file."""
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
    """The file and SQLite's own files are private, also if an earlier version had made it readable."""
    path = tmp_path / "state"
    for _ in range(2):
        with opened(path) as journal:
            journal.add("eu", b"1", BEGUN, 1)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
            assert {"state": 0o600, "state-journal": 0o600} == modes
        path.chmod(0o644)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: Path(path).symlink_to("victim")])
def test_only_regular_files_are_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A link is not followed, and a folder or a pipe is an error."""
    make(tmp_path / "state")
    with pytest.raises(OSError, match="is not a regular file"):
        opened(tmp_path / "state")
    assert not (tmp_path / "victim").exists()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """The error says that the disk is full; earlier chunks remain."""
    with opened(tmp_path / "state") as journal:
        journal.add("eu", b"1", BEGUN, 1)
        journal._database.execute("PRAGMA max_page_count = 6")
        with pytest.raises(OSError, match=r"state cannot be written: the disk is full\. Free some space"):
            journal.add("eu", bytes(100_000), DONE, 1)
        assert (BEGUN, 1) == (journal.checkpoint("eu"), journal.records)
    with opened(tmp_path / "state") as journal:
        assert ([b"1"], BEGUN) == (list(journal.chunks()), journal.checkpoint("eu"))


def test_a_failed_second_opening_keeps_the_lock(tmp_path: Path) -> None:
    """The lock is held from opening on, and a failed attempt in the same process does not release it."""
    filled(tmp_path / "state")
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM export')"
    with opened(tmp_path / "state"):
        with pytest.raises(OSError, match="is in use by another export"):
            opened(tmp_path / "state")
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", script, str(tmp_path / "state")], capture_output=True, text=True, check=False
        )
    assert "database is locked" in done.stderr
