"""Digests of records, and which records are known by them."""

import subprocess
import sys
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest

from itnio_voice import VoiceRecord
from itnio_voice._client.following.known import DIGEST, Known, digest_of, identity

AT = datetime(2026, 1, 1, tzinfo=UTC)


def known(*records: VoiceRecord, shared: set[Hashable] | None = None) -> Known:
    """Return what is known after some records."""
    return Known(map(digest_of, records), set() if shared is None else shared)


def call(name: str | None, second: int | None = 0, callee: str | None = "49", **values: Any) -> VoiceRecord:
    """Return a record."""
    at = None if second is None else AT + timedelta(seconds=second)
    return VoiceRecord(voice_id=name, submit_time=at, callee=callee, **values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"submit_time": AT}, {"submit_time": AT.astimezone(timezone(timedelta(hours=8)))}),
        ({"cost": Decimal("0.10")}, {"cost": Decimal("0.1")}),
        ({"extra": {"a": 1, "b": [2]}}, {"extra": {"b": [2], "a": 1}}),
        ({"submit_time": datetime.min.replace(tzinfo=timezone(timedelta(hours=8)))},) * 2,
    ],
)
def test_equal_records_have_equal_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    """However the server wrote their values."""
    assert digest_of(VoiceRecord(**one)) == digest_of(VoiceRecord(**other))
    assert len(digest_of(VoiceRecord(**one))) == DIGEST


def test_different_records_have_different_digests() -> None:
    """The part that identifies a record does not depend on what may change."""
    first = call("a", cost=Decimal(0))
    ended = attrs.evolve(first, cost=Decimal(1))
    assert digest_of(first) != digest_of(ended)
    assert identity(digest_of(first)) == identity(digest_of(ended))
    others = [call("b"), call("a", 1), call("a", callee="50"), call(None)]
    assert len({identity(digest_of(each)) for each in [first, *others]}) == 5


def test_digests_are_the_same_in_every_python() -> None:
    """A checkpoint may be resumed by another version, and None has a hash of its own only since Python 3.12."""
    record = call("a", cost=Decimal("1.20"), extra={"list": ["m1", 2.5, True, None]})

    assert digest_of(record).hex() == "3f98d128d5ac2f7ed987d004fda2d2075f5a"


def test_digests_are_the_same_in_every_process() -> None:
    """A checkpoint is read by another process, whose hashes of text are different."""
    code = (
        "from itnio_voice import VoiceRecord; from itnio_voice._client.following.known import digest_of;"
        "print(digest_of(VoiceRecord(voice_id='a', callee='49', extra={'x': 1, 'y': {'z': None}})).hex())"
    )
    digests = {
        subprocess.run(  # noqa: S603 -- this interpreter
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("before", "record", "verdict"),
    [
        (call("a"), call("a"), "known"),
        (call("a"), call("b"), "new"),
        (call("a"), call("a", cost=Decimal(1)), "changed"),
        (call("a", callee=None), call("a", cost=Decimal(1)), "changed"),
        (call("a", None), call("a", cost=Decimal(1)), "changed"),
        (call("0"), call("0", 5), "new"),
        (call("0"), call("0", callee="50"), "new"),
        (call(None), call(None), "known"),
        (call(None), call(None, cost=Decimal(1)), "new"),
        (call(None), call("a"), "new"),
    ],
)
def test_what_is_known(before: VoiceRecord, record: VoiceRecord, verdict: str) -> None:
    """By the id; if that belongs to different calls, by time, callee and content."""
    found = known(before).sort([(digest_of(record), record)])
    assert {"known": ([], []), "new": ([record], []), "changed": ([], [record])}[verdict] == (found.new, found.changed)


def test_an_id_of_different_calls_is_shared_from_then_on() -> None:
    """Then equal content is needed to be known."""
    shared: set[Hashable] = set()
    one, other = call("0"), call("0", 5)
    assert known(one, shared=shared).sort([(digest_of(other), other)]).new == [other]
    assert shared == {"0"}
    ended = attrs.evolve(one, cost=Decimal(1))
    both = known(one, other, shared=shared)
    assert both.sort([(digest_of(each), each) for each in (one, other, ended)]).new == [ended]
