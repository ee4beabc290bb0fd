"""Records as lines of text."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import json as arrow_json
from pyarrow import parquet

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.outputs.text import csv_header, csv_lines, json_lines

from .test_arrow import records


@given(st.lists(records(VoiceRecord), max_size=3))
def test_a_record_is_one_line_of_json(made: list[VoiceRecord]) -> None:
    """A line of JSON is `to_dict()`, with null for an empty `extra`; each record is one line."""
    lines = json_lines(made).decode().split("\n")

    assert [record.to_dict() | {"extra": record.extra or None} for record in made] == [
        json.loads(line) for line in lines[:-1]
    ]
    assert "" == lines[-1]


@given(st.lists(records(SipRecord), max_size=3))
def test_csv_has_the_same_values(made: list[SipRecord]) -> None:
    """A line of CSV has the same values as text, under the attributes' names, also line breaks and quotes."""
    text = (csv_header(SipRecord, account=True) + csv_lines(made, account="eu")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row["extra"] = json.loads(row["extra"] or "{}")

    expected = [{"account": "eu", **record.to_dict()} for record in made]
    for row in expected:
        row.update({name: "" if value is None else str(value) for name, value in row.items() if name != "extra"})
    assert expected == rows


def test_unpaired_surrogates_are_escaped() -> None:
    """An unpaired surrogate is escaped as in JSON, and reads back equal."""
    record = VoiceRecord(callee="a\ud800", cost=Decimal("0.10"))

    assert record.to_dict() | {"extra": None} == json.loads(json_lines([record]))
    assert b"a\\ud800" in csv_lines([record])
    assert ["eu", "a\ud800"] == list(json.loads(json_lines([record], account="eu")).values())[:3:2]


def test_unknown_numbers_keep_type_and_digits() -> None:
    """A number of an unknown field is a JSON number with the server's digits, at any depth; text stays text."""
    extra = {
        "n": Decimal("0.10000000000000000001"),
        "list": [1, Decimal("2.50"), {"t": "3", "huge": Decimal("1E+99999")}],
    }
    record = VoiceRecord(extra=extra)
    written = b'{"n":0.10000000000000000001,"list":[1,2.50,{"t":"3","huge":1E+99999}]}'

    assert b'"extra":' + written + b"}\n" in json_lines([record]).replace(b',"base_cost"', b'}\n"base_cost"')
    assert extra == json.loads(next(csv.reader([csv_lines([record]).decode()]))[20], parse_float=Decimal)


@pytest.mark.parametrize("extra", [{}, {"n": Decimal("1.5")}])
def test_json_lines_convert_to_parquet(tmp_path: Path, extra: dict[str, Any]) -> None:
    """pyarrow and polars convert JSON lines to Parquet, also if no record has unknown fields."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(json_lines([VoiceRecord(voice_id="1", extra=extra), VoiceRecord(voice_id="2")]))
    parquet.write_table(arrow_json.read_json(path), tmp_path / "arrow.parquet")
    pl.read_ndjson(path).write_parquet(tmp_path / "polars.parquet")

    for name in ("arrow", "polars"):
        rows = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert [{"n": 1.5} if extra else None, None] == [row["extra"] for row in rows]
        assert ["1", "2"] == [row["voice_id"] for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+4912", "'+4912"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("  =1", "'  =1"),
        ("\u00a0@x", "'\u00a0@x"),
        ("\uff1d1", "'\uff1d1"),
        ("'=1", "'=1"),
        ("a=1", "a=1"),
        (" ", " "),
        ("", ""),
        ("12", "12"),
    ],
)
def test_safe_csv_neutralizes_formulas(text: str, expected: str) -> None:
    """Text that a spreadsheet would execute gets an apostrophe, also in account names; other text is unchanged."""
    (row,) = csv.reader(
        io.StringIO(csv_lines([VoiceRecord(callee=text)], account=text, safe=True).decode(), newline="")
    )
    columns = dict(zip(["account", *VoiceRecord().to_dict()], row, strict=True))

    assert (expected, expected) == (columns["account"], columns["callee"])
    assert text.encode() in csv_lines([VoiceRecord(callee=text)])


def test_safe_csv_keeps_numbers_times_and_json() -> None:
    """Numbers and times are unchanged, and `extra` is JSON, which starts with a brace."""
    record = VoiceRecord(
        cost=Decimal("-0.50"), call_duration=-3, call_time=datetime(2026, 9, 1, tzinfo=UTC), extra={"=a": "=b"}
    )
    (row,) = csv.reader(io.StringIO(csv_lines([record], safe=True).decode()))
    (usual,) = csv.reader(io.StringIO(csv_lines([record]).decode()))

    assert usual == row
    assert {"-0.50", "-3", '{"=a":"=b"}'} <= set(row)


def test_safe_csv_quotes_all_cells() -> None:
    """A spreadsheet with another separator cannot extract a formula from a cell."""
    assert b'"a;=1"' in csv_lines([VoiceRecord(callee="a;=1")], safe=True)


def test_json_lines_with_columns() -> None:
    """The keys are the columns, in their order: attributes, derived values, and the account."""
    record = VoiceRecord(voice_id="a", feedback_value="-1", cost=Decimal("0.10"))
    columns = ["pressed_key", "cost", "account", "answered"]

    expected = {"pressed_key": None, "cost": "0.10", "account": "eu", "answered": False}
    assert list(expected.items()) == list(json.loads(json_lines([record], account="eu", columns=columns)).items())
    with pytest.raises(AttributeError, match="nothing"):
        json_lines([record], columns=["nothing"])
