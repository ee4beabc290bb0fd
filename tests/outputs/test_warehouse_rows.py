"""The rows of a warehouse: keys, and text that every database stores."""

import json
from decimal import Decimal
from typing import Any

from itnio_voice import VoiceRecord
from itnio_voice._wire.structuring import structure_record
from itnio_voice.outputs._warehouse.rows import columns_of, rows_of
from itnio_voice.outputs.arrow import MONEY, WIDEST_MONEY, record_batch


def rows(*records: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of records as the API sends them."""
    structured = [structure_record(record, VoiceRecord) for record in records]
    table = rows_of(record_batch(structured, VoiceRecord, account="eu"), VoiceRecord)
    assert columns_of(VoiceRecord) == table.schema
    return table.to_pylist()


def test_a_nul_is_replaced_in_each_text_column() -> None:
    """PostgreSQL stores no NUL: U+FFFD replaces it, and other text is unchanged."""
    [row] = rows({"voiceId": "1", "callee": "a\0b\0", "currency": "U\0D", "caller": "ü\ufffd"})

    assert ("a\ufffdb\ufffd", "U\ufffdD") == (row["callee"], row["currency"])


def test_a_nul_is_replaced_in_the_names_and_values_of_extra() -> None:
    """NUL is replaced at any depth. A backslash before `u0000` is not a NUL, and no field overwrites another."""
    extra = {"k\0": "v\0", "k\ufffd": [1, {"\0": "\0", "t": None}], "escaped": "\\u0000", "half": 0.5}
    with_nul, without = rows({"voiceId": "1", **extra}, {"voiceId": "2", "escaped": "\\u0000"})

    assert {
        "k\ufffd\ufffd": "v\ufffd",
        "k\ufffd": [1, {"\ufffd": "\ufffd", "t": None}],
        "escaped": "\\u0000",
        "half": 0.5,
    } == json.loads(with_nul["extra"])
    assert {"escaped": "\\u0000"} == json.loads(without["extra"])


def test_ids_that_differ_in_a_nul_stay_different() -> None:
    """The replaced id ends with a digest of the original, so no record overwrites another."""
    names = [row["voice_id"] for row in rows(*({"voiceId": name} for name in ("a\0", "a\ufffd", "a", "a\0\0")))]

    assert 4 == len(set(names))
    assert {"a", "a\ufffd"} < set(names)
    assert not any("\0" in name for name in names)


def test_a_record_without_an_id_has_one_derived_from_its_values() -> None:
    """The id is the same each time, and differs for other values."""
    first, again, other = rows({"callee": "1"}, {"callee": "1"}, {"voiceId": "", "callee": "2"})

    assert first["voice_id"] == again["voice_id"] != other["voice_id"]
    assert first["voice_id"].startswith("none-")


def test_the_id_of_a_record_without_one_depends_on_no_option() -> None:
    """The digest is the same with each type of money, so a later run finds the row of an earlier one."""
    record = structure_record({"cost": "0.05", "new": Decimal("1.5"), "newer": {"a": [1]}}, VoiceRecord)
    batches = [record_batch([record], account="eu", money=money) for money in (MONEY, WIDEST_MONEY)]

    assert {"none-c26f24bdb8ccb3f6ccd43920ebaaddb4"} == {
        row["voice_id"] for batch in batches for row in rows_of(batch, VoiceRecord).to_pylist()
    }
