"""Deduplication keys, within one answer and across windows."""

import json
from datetime import timedelta
from typing import Any

import attrs
import pytest

from itnio_voice import IncompleteWindowError, VoiceRecord, Window
from itnio_voice._model.records import content
from itnio_voice._model.windows import SECOND
from itnio_voice._walk.seen import HORIZON, MAX_SHARED_IDS, PageKeys, SeenRecords, page_keys
from itnio_voice._wire.pages import PageRequest, rows_of
from itnio_voice._wire.responses import read_page

from ..model.test_windows import START
from ..support.window_server import record

END = START + timedelta(hours=1)


def keys(*rows: VoiceRecord) -> PageKeys:
    """Return the keys of one answer."""
    return page_keys(rows, set())


def test_the_key_is_the_id_or_the_content() -> None:
    """A record is identified by its id; without one, by its complete content."""
    assert keys(VoiceRecord(voice_id="1")).keys == keys(VoiceRecord(voice_id="1", callee="2")).keys == ["1"]
    assert keys(VoiceRecord(callee="1")).keys != keys(VoiceRecord(callee="2")).keys
    assert keys(VoiceRecord(callee="1", extra={"a": []})).keys == keys(VoiceRecord(callee="1", extra={"a": []})).keys


def test_keys_of_records_without_a_hash() -> None:
    """A record with a list has a key: its id, or its content."""
    of: Any = attrs.make_class("Own", {"tags": attrs.field(factory=list)}, bases=(VoiceRecord,), frozen=True)

    assert ["1"] == keys(of(voice_id="1", tags=[1])).keys
    assert 2 == len(keys(of(tags=[1]), of(tags=[2]), of(tags=[1])).distinct)


class _Number:
    """A number of a user's own class: it is compared by value, and its text shows nothing of it."""

    def __init__(self, digits: str) -> None:
        self.digits = digits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and other.digits == self.digits

    def __hash__(self) -> int:
        return hash(self.digits)

    def __str__(self) -> str:
        return "***"


@attrs.frozen
class _OwnRecord(VoiceRecord):
    callee: Any = None


@pytest.mark.parametrize("make", [str, _Number, lambda digits: [digits], lambda digits: ({"digits": digits},)])
def test_callees_of_any_class_distinguish_records(make: Any) -> None:
    """Also if they have no hash, or a text that is the same for all."""
    one, same, other = (_OwnRecord(voice_id="1", callee=make(digits)) for digits in ("7", "7", "8"))
    seen = SeenRecords(set())
    seen.add(END, [keys(one)])

    assert keys(one).lists_the_same(keys(same))
    assert not keys(one).lists_the_same(keys(other))
    assert not seen.unseen(keys(same), [same])
    assert seen.unseen(keys(other), [other])


def test_the_content_is_the_key_of_a_shared_id() -> None:
    """From then on the content is the key, also in later answers."""
    shared: set[Any] = set()
    one, other, third = record(1, callee="a"), record(1, callee="b"), record(2)
    first = page_keys([one, third, other], shared)

    assert {"1"} == shared == first.shared
    assert [content(one), "2", content(other)] == first.keys
    assert [content(one)] == page_keys([one], shared).keys
    assert frozenset() == page_keys([third], shared).shared


def test_a_record_that_is_listed_twice_keeps_its_id_as_key() -> None:
    """Records that the server itself lists twice keep their id as the key."""
    shared: set[Any] = set()
    listed = page_keys([record(1), record(2), record(1)], shared)

    assert ["1", "2", "1"] == listed.keys
    assert {"1", "2"} == listed.distinct
    assert not shared


def test_shared_ids_are_bounded() -> None:
    """Beyond the limit, the id stays the key."""
    shared: set[Any] = set(range(MAX_SHARED_IDS))

    assert ["1", "1"] == page_keys([record(1, callee="a"), record(1, callee="b")], shared).keys
    assert MAX_SHARED_IDS == len(shared)


def test_answers_with_the_same_records_are_equal() -> None:
    """The order does not matter; a record that shares the id of another one is not the same."""
    one, other = keys(record(1, 1), record(2, 2)), keys(record(2, 2), record(1, 1))

    assert one.lists_the_same(other)
    assert not one.lists_the_same(keys(record(1, 1), record(2, 3)))
    assert not one.lists_the_same(keys(record(1, 1), record(2, 2, callee="b")))
    assert not one.lists_the_same(keys(record(1, 1)))


def test_answers_with_other_records_without_ids_are_not_equal() -> None:
    """They may have the submit time and the callee in common, and one may be listed more often."""
    short, long = (record(None, 1, call_duration=seconds) for seconds in (1, 2))

    assert keys(short, long).lists_the_same(keys(long, short))
    assert not keys(short, short).lists_the_same(keys(short, long))
    assert not keys(short, long, long).lists_the_same(keys(short, short, long))


def test_returned_records_are_not_unseen() -> None:
    """Each record is returned once, in the order of the answer."""
    seen = SeenRecords(set())
    rows = [record(3), record(1), record(3), record(2)]

    assert [rows[0], rows[1], rows[3]] == seen.unseen(keys(*rows), rows)
    seen.add(END, [keys(record(1)), keys(record(2))])
    assert [rows[0]] == seen.unseen(keys(*rows), rows)


def test_a_record_that_changed_is_not_returned_again() -> None:
    """Its id is its key, while submit time and callee are the same or missing."""
    seen = SeenRecords(set())
    seen.add(END, [keys(record(1, 5))])
    later = record(1, 5, callee="a", call_duration=7)

    assert [] == seen.unseen(keys(later), [later])


@pytest.mark.parametrize(
    "time",
    ["2026-01-01T08:00:05+08:00", "2026-01-01T00:00:05Z", "2026-01-01 00:00:05+00:00", "2026-01-01T08:00:05.000+08:00"],
)
def test_a_time_that_is_written_in_another_way_is_the_same(time: str) -> None:
    """A server or its replicas may write times with another offset, a space, or a fraction."""
    shared: set[Any] = set()
    seen = SeenRecords(shared)
    answer = {"total": 1, "records": [{"voiceId": "1", "submitTime": time, "callee": "a"}]}
    body = json.dumps({"status": "0", "reason": "success", "data": answer}).encode()
    page = read_page(body, PageRequest(Window(START, END), 1, 100), VoiceRecord, redact=lambda _: None)
    records = rows_of(page)
    listed, again = page_keys(records, shared), record(1, 5, callee="a")

    seen.add(END, [listed])
    assert [] == list(seen.unseen(listed, records))
    assert [] == seen.unseen(page_keys([again], shared), [again])
    assert set() == shared


@pytest.mark.parametrize("other", [record(1, 6, callee="a"), record(1, 5, callee="b")])
def test_another_record_with_the_id_of_a_returned_one_is_unseen(other: VoiceRecord) -> None:
    """With another submit time or callee, the id counts as shared, also from then on."""
    shared: set[Any] = set()
    seen = SeenRecords(shared)
    seen.add(END, [page_keys([record(1, 5, callee="a")], shared)])

    assert [other] == seen.unseen(page_keys([other], shared), [other])
    assert {"1"} == shared


def test_a_shared_id_found_after_one_record_was_returned() -> None:
    """The record that was returned under the id is identified by its submit time and callee."""
    shared: set[Any] = set()
    seen = SeenRecords(shared)
    one, other = record(1, 5, callee="a"), record(1, 5, callee="b")
    seen.add(END, [page_keys([one], shared)])
    both = page_keys([one, other], shared)

    assert [other] == seen.unseen(both, [one, other])
    seen.add(END, [both])
    assert [] == seen.unseen(both, [one, other])


def test_records_that_cannot_be_distinguished_are_an_error() -> None:
    """Two records share id, submit time and callee, and one was returned: either decision could be wrong."""
    shared: set[Any] = set()
    seen = SeenRecords(shared)
    one, other = record(1, 5, call_duration=1), record(1, 5, call_duration=2)
    seen.add(END, [page_keys([one], shared)])

    with pytest.raises(IncompleteWindowError, match="share the id"):
        seen.unseen(page_keys([one, other], shared), [one, other])


def test_windows_are_forgotten_behind_the_horizon() -> None:
    """The keys of a window are kept until the walk is `HORIZON` past its end."""
    seen = SeenRecords(set())
    seen.add(END, [keys(record(1))])
    seen.forget_before(END + HORIZON)
    assert [] == seen.unseen(keys(record(1)), [record(1)])

    seen.forget_before(END + HORIZON + SECOND)
    assert [record(1)] == seen.unseen(keys(record(1)), [record(1)])


def test_an_id_may_become_shared_after_its_page_arrived() -> None:
    """A later answer for an earlier window shows it; the waiting page's record is found among those returned."""
    shared: set[Any] = set()
    seen, one, other = SeenRecords(shared), record(1, 5, callee="a"), record(1, 6, callee="b")
    waiting = page_keys([other], shared)
    seen.add(END, [page_keys([one, other], shared)])

    assert [] == seen.unseen(waiting, [other])


@pytest.mark.parametrize("callees", [(None, None), ("a", None), (None, "a")])
def test_records_without_a_callee_are_distinguished_by_their_times(callees: tuple[str | None, str | None]) -> None:
    """With a placeholder id; if the times are equal too, a missing callee may be any."""
    shared: set[Any] = set()
    seen, (one, other) = SeenRecords(shared), callees
    seen.add(END, [page_keys([record(0, 5, callee=one)], shared)])
    late, equal = record(0, 9, callee=other), record(0, 5, callee=other)

    assert [] == seen.unseen(page_keys([equal], shared), [equal])
    assert [late] == seen.unseen(page_keys([late], shared), [late])


def test_ids_may_be_numbers() -> None:
    """A class of a user's own may have another type of id, also 0."""
    shared: set[Any] = set()
    seen = SeenRecords(shared)
    ids: list[Any] = [0, 7]
    rows = [attrs.evolve(record(0, name), voice_id=name) for name in ids]
    seen.add(END, [page_keys(rows, shared)])

    assert [] == seen.unseen(page_keys(rows, shared), rows)
    assert set() == shared


def test_a_submit_time_may_be_text() -> None:
    """A class of a user's own may keep it as it was sent."""
    times: list[Any] = ["2026-01-01", None]
    rows = [attrs.evolve(record(1), submit_time=time) for time in times]

    assert 2 == len(set(page_keys(rows, set()).times))
