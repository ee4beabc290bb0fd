"""The files that a report reads: by exact path, with checked columns, and no other file."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.outputs.report import read_figures
from itnio_voice.outputs.report.source import opened

from .writing import EXPORTS, WRITE, Write, as_arrow, as_csv, as_duckdb, as_json_lines, as_parquet

AT = datetime(2026, 10, 1, tzinfo=UTC)
ONE = [VoiceRecord(submit_time=AT, code="A", cost=Decimal("0.5"))]
THREE = ONE * 3


@pytest.mark.parametrize("name", ["calls[1]", "*", "call?", "{calls,call}", 'it\'s "quoted"', "~", "a b\n", "ü"])
@pytest.mark.parametrize("write", WRITE)
def test_file_is_read_by_its_exact_path(write: Write, name: str, tmp_path: Path) -> None:
    """A name with glob characters reads no other file."""
    path = write(tmp_path, THREE)
    path = path.rename(path.with_stem(name))
    for decoy in ("calls1", "call1", "calls"):
        other = write(tmp_path, ONE)
        if other.stem != decoy:
            other.rename(other.with_stem(decoy))

    assert 3 == read_figures(path).headline.calls


@pytest.mark.parametrize("write", WRITE)
def test_folder_names_are_not_values(write: Write, tmp_path: Path) -> None:
    """A folder named like a partition changes no column."""
    folder = tmp_path / "cost=1000000" / "currency=XXX"
    folder.mkdir(parents=True)

    assert {"USD": Decimal("1.5")} == read_figures(write(folder, THREE)).headline.cost


@pytest.mark.parametrize("write", WRITE)
def test_duckdb_opens_no_connection_and_no_other_file(write: Write, tmp_path: Path) -> None:
    """No extension and no URL is loaded from the network, and no query can read another file."""
    source = write(tmp_path, ONE)
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    with socket.create_server(("127.0.0.1", 0)) as server, opened(source, timezone="UTC") as (connection, _):
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.csv"
        for query in (f"FROM '{address}'", f"FROM read_csv('{other}')", "INSTALL httpfs", "LOAD httpfs", "FROM source"):
            with pytest.raises(duckdb.Error):
                connection.execute(query)
        for name in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
            assert (False,) == connection.execute(f"SELECT current_setting('{name}')").fetchone()
        with pytest.raises(BlockingIOError):
            server.accept()


def without(table: pa.Table, *names: str) -> pa.Table:
    """Return a table without some columns."""
    return table.drop_columns(list(names))


def with_type(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    """Return a table whose column has another type."""
    values: Any = table[name].to_pylist()
    column = pa.array([value and float(value) for value in values] if kind == pa.float64() else values, kind)
    return table.set_column(table.schema.get_field_index(name), name, column)


CHANGED: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
    (lambda table: without(table, "cost", "code"), "columns are missing: code, cost; make a file with `itnio-voice"),
    (lambda table: table.rename_columns([name.upper() for name in table.column_names]), "columns are missing: code"),
    (lambda table: table.append_column("cost", table["cost"]), "columns occur more than once: cost"),
    (lambda table: with_type(table, "cost", pa.float64()), r"cost is DOUBLE instead of DECIMAL\(38,18\)"),
    (lambda table: with_type(table, "cost", pa.decimal128(38, 20)), r"cost is DECIMAL\(38,20\) instead"),
    (lambda table: with_type(table, "answer_time", pa.timestamp("us")), "answer_time is TIMESTAMP instead of"),
    (lambda table: with_type(table, "code", pa.list_(pa.string())), r"code is VARCHAR\[\] instead of VARCHAR"),
]


@pytest.mark.parametrize(("change", "words"), CHANGED)
def test_columns_are_checked(change: Callable[[pa.Table], pa.Table], words: str, tmp_path: Path) -> None:
    """A Parquet file with other columns is an error that names them."""
    path = as_parquet(tmp_path, [VoiceRecord()])
    parquet.write_table(change(parquet.read_table(path)), path)

    with pytest.raises(ValueError, match=words):
        read_figures(path)


def test_equivalent_types_are_read(tmp_path: Path) -> None:
    """A file rewritten by other tools is read: plain or large text, other precisions, empty columns."""
    path = as_parquet(tmp_path, THREE)
    table = parquet.read_table(path)
    for name, kind in (
        ("cost", pa.decimal128(10, 2)),
        ("code", pa.large_string()),
        ("currency", pa.null()),
        ("call_duration", pa.int32()),
    ):
        table = with_type(table, name, kind)
    parquet.write_table(table.append_column('a"; DROP TABLE read; --', table["code"]), path)

    assert (3, {"USD": Decimal("1.5")}) == (
        (headline := read_figures(path).headline).calls,
        headline.cost,
    )


OTHER_FILES = {
    "notes.duckdb": (b"notes" * 5000, "neither a DuckDB database nor named .parquet, .arrow, .csv, .jsonl"),
    "notes.txt": (b"", "neither a DuckDB database nor named"),
    "begins.duckdb": (b"12345678DUCK" + b"x" * 9000, "cannot be read"),
    "notes.parquet": (b"notes", "cannot be read"),
    "empty.parquet": (b"", "is 0 bytes"),
    "notes.arrow": (b"notes" * 99, "Not an Arrow file"),
    "empty.arrow": (b"", "too small"),
    "empty.csv": (b"", "Empty CSV file"),
    "other.csv": (b"a,b\r\n1,2\r\n", "columns are missing: code, currency"),
    "binary.csv": (b"\xff\xfe\x00" * 99, "cannot be read"),
    "other.jsonl": (b'{"a": 1}\n', "columns are missing: code, currency"),
    "list.jsonl": (b"[]\n", "line 1 is not a JSON object"),
    "deep.jsonl": (b"[" * 200_000, "line 1 is not a JSON object"),
    "cut.jsonl": (b'{"code": "A', "line 1 is not a JSON object"),
    "endless.jsonl": (b" " * (16 * 1024 * 1024), "line 1 is not a JSON object of at most 16,777,216 bytes"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_errors(name: str, tmp_path: Path) -> None:
    """A file without call records is a one-line error that says how to create one."""
    content, words = OTHER_FILES[name]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=words) as caught:
        read_figures(tmp_path / name)

    assert "`itnio-voice export`" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("write", EXPORTS)
def test_cut_file_is_an_error(write: Write, tmp_path: Path) -> None:
    """A file without its last bytes is not reported as fewer calls."""
    path = write(tmp_path, THREE)
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(ValueError, match="cannot be read"):
        read_figures(path)


def test_later_lines_are_checked(tmp_path: Path) -> None:
    """A line of JSON without the columns is not a call."""
    path = as_json_lines(tmp_path, ONE)
    path.write_bytes(path.read_bytes() + b'{"code": "A"}\n')

    with pytest.raises(ValueError, match="columns are missing: currency"):
        read_figures(path)


@pytest.mark.parametrize("write", [as_csv, as_json_lines])
@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("cost", "1E-19", "record 2 has cost '1E-19': an amount of at most 20 digits before the point and 18 decimals"),
        ("cost", "1E+30", "record 2 has cost '1E\\+30'"),
        ("cost", "1_0", "an amount such as 0.15 is expected"),
        ("cost", "NaN", "record 2 has cost 'NaN'"),
        ("submit_time", "2026-10-01T00:00:00", "a time with an offset"),
        ("call_duration", "1.5", "a whole number is expected"),
    ],
)
def test_values_are_exact_or_an_error(write: Write, field: str, text: str, words: str, tmp_path: Path) -> None:
    """A value that its column cannot hold exactly is named, and never rounded."""

    class Changed(VoiceRecord):
        def to_dict(self) -> dict[str, Any]:
            return super().to_dict() | {field: text}

    path = write(tmp_path, [*ONE, Changed()])

    with pytest.raises(ValueError, match=words):
        read_figures(path)


TEXTS = ["a,b;c", 'say "hi"', "two\r\nlines\nand\rmore", "\x00", "NULL", "NA", "=1+1", "\u202eabc", "x" * 200_000, "ü"]


@pytest.mark.parametrize("write", WRITE)
def test_texts_are_read_as_they_are(write: Write, tmp_path: Path) -> None:
    """Quotes, line ends, NUL, words for missing values and long texts are read back unchanged."""
    figures = read_figures(write(tmp_path, [VoiceRecord(submit_time=AT, code=text) for text in TEXTS]))

    assert {*TEXTS} == {row["name"] for row in figures.kinds["Voice messages"].by_destination}


def test_sip_records_have_no_keys(tmp_path: Path) -> None:
    """The columns that only voice messages have are optional."""
    for write in WRITE:
        figures = read_figures(write(tmp_path, [SipRecord(submit_time=AT)], SipRecord))
        assert ["Phone calls"] == list(figures.kinds)
        assert [] == figures.kinds["Phone calls"].by_key


def test_sums_are_exact_to_38_digits(tmp_path: Path) -> None:
    """A sum of the largest amounts is exact, or an error if it has more digits."""
    largest = [VoiceRecord(cost=Decimal("9" * 20 + "." + "9" * 18))]

    assert {"USD": largest[0].cost} == read_figures(as_parquet(tmp_path, largest)).headline.cost
    with pytest.raises(ValueError, match="Overflow"):
        read_figures(as_parquet(tmp_path, largest * 1000))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl", ".duckdb"])
def test_a_source_that_is_not_a_file_is_an_os_error(suffix: str, tmp_path: Path) -> None:
    """A missing file, a folder and a FIFO are errors with the name, without waiting."""
    folder, fifo, missing = (tmp_path / f"{name}{suffix}" for name in ("folder", "fifo", "missing"))
    folder.mkdir()
    os.mkfifo(fifo)
    for path, words in ((folder, "Is a directory"), (fifo, "not a regular file"), (missing, "No such file")):
        with pytest.raises(OSError, match=words) as caught:
            read_figures(path)
        assert str(path) == caught.value.filename


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("write", WRITE)
def test_file_without_permission_is_an_error(write: Write, tmp_path: Path) -> None:
    """A file that may not be read is a PermissionError."""
    path = write(tmp_path, ONE)
    path.chmod(0)

    with pytest.raises(PermissionError):
        read_figures(path)


def test_unknown_time_zone_is_an_error(tmp_path: Path) -> None:
    """A time zone that DuckDB does not know is an error of the argument."""
    with pytest.raises(ValueError, match="'Mars' is not a time zone"):
        read_figures(as_arrow(tmp_path, ONE), timezone="Mars")


# Databases


def test_database_without_completed_load_is_not_reported(tmp_path: Path) -> None:
    """The tables of a sync that has been killed are not reported."""
    with pytest.raises(ValueError, match="no sync has been completed"):
        read_figures(as_duckdb(tmp_path, ONE, finished=False))


def test_database_of_a_failed_sync_is_not_reported(tmp_path: Path) -> None:
    """A load that read no account is not a report of zero calls; one that found no calls is."""
    failed, empty = tmp_path / "failed", tmp_path / "empty"
    failed.mkdir()
    empty.mkdir()

    with pytest.raises(ValueError, match="no sync has been completed"):
        read_figures(as_duckdb(failed, [], accounts=()))
    assert 0 == read_figures(as_duckdb(empty, [])).headline.calls


def test_database_without_tables_is_an_error(tmp_path: Path) -> None:
    """A database of another program is an error."""
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE other (a INTEGER)")
        connection.execute("CREATE VIEW voice_records AS FROM read_csv('/etc/passwd')")

    with pytest.raises(ValueError, match="no table voice_records or sip_records: fill it with `itnio-voice sync`"):
        read_figures(tmp_path / "other.duckdb")


def test_several_datasets_are_not_added_up(tmp_path: Path) -> None:
    """Two datasets are not added up: one is selected. A dataset without a completed load does not count."""
    as_duckdb(tmp_path, ONE, dataset='first"; --')
    as_duckdb(tmp_path, ONE, dataset="unfinished", finished=False)
    assert 1 == read_figures(tmp_path / "calls.duckdb").headline.calls
    path = as_duckdb(tmp_path, THREE, dataset="second_staging")

    with pytest.raises(ValueError, match='choose one of first"; --, second_staging with --dataset'):
        read_figures(path)
    assert 3 == read_figures(path, dataset="second_staging").headline.calls
    with pytest.raises(ValueError, match="in the dataset 'third'"):
        read_figures(path, dataset="third")


def test_columns_of_a_database_are_checked(tmp_path: Path) -> None:
    """A table with other columns is an error that names them."""
    path = as_duckdb(tmp_path, ONE)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE itnio_voice.voice_records ALTER cost TYPE DOUBLE")
    with pytest.raises(ValueError, match="cost is DOUBLE"):
        read_figures(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE itnio_voice.voice_records DROP cost")
    with pytest.raises(ValueError, match="columns are missing: cost"):
        read_figures(path)


WRITER = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("INSERT INTO itnio_voice.voice_records FROM itnio_voice.voice_records")
print("writing", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_database_in_use_is_an_error(tmp_path: Path) -> None:
    """It is an error while the writer runs; afterwards its write-ahead log is read too, and no file is changed."""
    path = as_duckdb(tmp_path, ONE)
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603
        assert writer.stdout
        assert "writing\n" == writer.stdout.readline()
        with pytest.raises(OSError, match="another process is using the database: try again") as caught:
            read_figures(path)
        assert str(path) == caught.value.filename
        writer.communicate("")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    assert "calls.duckdb.wal" in before
    assert 2 == read_figures(path).headline.calls
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_damaged_state_is_an_error(tmp_path: Path) -> None:
    """An unreadable state of dlt is a one-line error."""
    path = as_duckdb(tmp_path, [])
    for state in ("!", json.dumps({}), ""):
        with duckdb.connect(str(path)) as connection:
            connection.execute("UPDATE itnio_voice._dlt_pipeline_state SET state = ?", [state])
        with pytest.raises(ValueError, match="cannot be read"):
            read_figures(path)
