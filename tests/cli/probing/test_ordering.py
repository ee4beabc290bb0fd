"""The order of records, from lists of the same records."""

import pytest

from itnio_voice.cli.probing.answers import Row
from itnio_voice.cli.probing.ordering import Listings, order_of

TIMES = ("submit_time", "call_time", "hangup_time")


def rows(text: str) -> tuple[Row, ...]:
    """Return records whose ids are letters and whose second follows each of them: `a1 b1 c2`."""
    return tuple(Row(word[0], dict.fromkeys(TIMES, float(word[1:]))) for word in text.split())


ASCENDING = rows("f1 e1 d2 c2 b3 a3 k4 j4 i5 h5")
SWAPPED = rows("e1 f1 c2 d2 b3 a3 k4 j4 i5 h5")


@pytest.mark.parametrize(
    ("same", "other", "order", "confidence"),
    [
        (ASCENDING, ASCENDING, "ascending", "certain"),
        (SWAPPED, SWAPPED, "unstable", "certain"),
        (ASCENDING, SWAPPED, "heap", "certain"),
        (rows("f1 d2 b3 k4 i5"), rows("f1 e1"), "ascending", "likely"),
    ],
)
def test_records_of_one_second_distinguish_orders_by_time(
    same: tuple[Row, ...], other: tuple[Row, ...], order: str, confidence: str
) -> None:
    """If the same request has another order, it is unstable; if only another size of a page has, it is a heap's."""
    found = order_of(Listings(((ASCENDING, same),), ((ASCENDING, other),)), TIMES)

    assert (order, confidence) == (found.value, found.confidence)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("a5 b4 c3 d2 e1", "descending"),
        ("a5 b1 c3 d2 e4", "by_id"),
        ("b5 a1 c3 d2 e4", "by_hash"),
        ("a1 b2 c3 d4 e5", "ascending"),
    ],
)
def test_orders_are_distinguished(text: str, order: str) -> None:
    """A stable list is sorted by time, by id, or by something else."""
    listed = rows(text)

    assert order == order_of(Listings(((listed, listed),), ((listed, listed),)), TIMES).value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        ("a1 b2 c3", "a1 b2 c3"),
        ("a1 b1 c1 d1 e1 f1", "a1 b1 c1 d1 e1 f1"),
        ("b5 a1 c3 d2 e4", "a1 b5 d2 c3 e4"),
    ],
)
def test_too_little_is_not_an_order(one: str, other: str) -> None:
    """With few records, few times, or an order that changes for no visible reason, the order is not known."""
    assert not order_of(Listings(((rows(one), rows(other)),), ()), TIMES).is_known
