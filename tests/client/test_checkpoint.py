"""Checkpoints: completed windows as text that outlives the process."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import Checkpoint, Window
from itnio_voice._client.checkpoint import fingerprint

from ..model.test_windows import at, seconds, windows


@given(st.lists(windows), st.lists(windows))
def test_a_checkpoint_covers_exactly_the_completed_windows(first: list[Window], second: list[Window]) -> None:
    """Windows are merged in any order, and nothing else is covered."""
    checkpoint = Checkpoint("query", tuple(first)).including(second)

    assert seconds([*first, *second]) == seconds(checkpoint.done)


@given(st.lists(windows))
def test_parse_reads_what_str_writes(done: list[Window]) -> None:
    """`parse` reads what `str` writes; the text is JSON."""
    checkpoint = Checkpoint("query", tuple(done))

    assert checkpoint == Checkpoint.parse(str(checkpoint))
    assert {"version", "query", "done"} == json.loads(str(checkpoint)).keys()


def test_including_merges_neighbouring_windows() -> None:
    """Adding windows returns a new checkpoint; neighbours in any order become one window; the first is unchanged."""
    first = Checkpoint("query", (Window(at(5), at(9)),))
    both = first.including([Window(at(0), at(2)), Window(at(1), at(5))])

    assert Checkpoint("query", (Window(at(0), at(9)),)) == both
    assert (Window(at(5), at(9)),) == first.done


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_garbage_is_a_value_error(text: str) -> None:
    """Parsing any other text raises ValueError."""
    with pytest.raises(ValueError, match="not a checkpoint"):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "query": "q", "done": []}',
        '{"version": 1, "query": 5, "done": []}',
        '{"version": 1, "query": "q", "done": [["2026-01-01T00:00:00+00:00"]]}',
        '{"version": 1, "query": "q", "done": [["2026-01-01T00:00:00", "2026-01-02T00:00:00"]]}',
        '{"version": 1, "query": "q", "done": [["2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00"]]}',
        '{"version": 1, "query": "q", "done": [5]}',
        '{"version": 1, "query": "q", "done": [[5, 6]]}',
        '{"version": 1, "query": "q", "done": [["2026-01-01T00:00:00.5+00:00", "2026-01-02T00:00:00+00:00"]]}',
        '{"version": 1, "query": "q", "done": {}}',
        '{"version": 1, "query": "q"}',
        '{"query": "q", "done": []}',
        "[" * 100_000,
    ],
)
def test_invalid_checkpoints_are_value_errors(text: str) -> None:
    """Invalid checkpoints raise a ValueError that shows the text, shortened."""
    with pytest.raises(ValueError, match="not a checkpoint") as caught:
        Checkpoint.parse(text)

    assert len(str(caught.value)) < 300


def test_fingerprints_distinguish_queries() -> None:
    """A fingerprint distinguishes queries, hides its input, and is the same for one instant in any time zone."""
    elsewhere = at(0).astimezone(timezone(timedelta(hours=8)))

    assert fingerprint("key", at(0), None) == fingerprint("key", elsewhere, None)
    assert 4 == len({fingerprint("key", *rest) for rest in ((at(0),), (at(1),), (None,), ({"a": "b"},))})
    assert "key" not in fingerprint("key")
    assert datetime(2026, 1, 1, tzinfo=UTC) == at(0)
