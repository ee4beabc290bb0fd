"""Records as lines of text."""

import csv
import io
import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.lines import csv_header, csv_lines, json_lines

from .test_arrow import records


@given(st.lists(records(VoiceRecord), max_size=3))
def test_json(made: list[VoiceRecord]) -> None:
    """A line of JSON is what `to_dict()` gives; each record is one line."""
    lines = json_lines(made).decode().split("\n")

    assert [record.to_dict() for record in made] == [json.loads(line) for line in lines[:-1]]
    assert "" == lines[-1]


@given(st.lists(records(SipRecord), max_size=3))
def test_csv(made: list[SipRecord]) -> None:
    """A line of CSV has the same values as text, under the attributes' names, line breaks and quotes among them."""
    text = (csv_header(SipRecord, account=True) + csv_lines(made, account="eu")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row["extra"] = json.loads(row["extra"] or "{}")

    expected = [{"account": "eu", **record.to_dict()} for record in made]
    for row in expected:
        row.update({name: "" if value is None else str(value) for name, value in row.items() if name != "extra"})
    assert expected == rows


def test_what_is_no_text() -> None:
    """Half a surrogate pair is written as JSON escapes it, and reads as it was."""
    record = VoiceRecord(callee="a\ud800", cost=Decimal("0.10"))

    assert record.to_dict() == json.loads(json_lines([record]))
    assert b"a\\ud800" in csv_lines([record])
    assert ["eu", "a\ud800"] == list(json.loads(json_lines([record], account="eu")).values())[:3:2]
