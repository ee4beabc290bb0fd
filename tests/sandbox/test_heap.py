"""The bounded heap sort: its result, and the order of ties."""

from random import Random

from itnio_voice.sandbox._data.heap import lowest


def test_the_lowest_rows_are_in_order() -> None:
    """The lowest rows are returned in order, for any limit and any initial order."""
    random = Random(1)
    for count in (1, 2, 7, 50, 99, 100, 101, 500):
        rows = [(random.randrange(1000),) for _ in range(100)]

        assert lowest(rows, count) == sorted(rows)[:count]


def test_ties_match_an_order_computed_by_hand() -> None:
    """Of five ties, a heap of two keeps the first two, the second first, as computed by hand."""
    ties = [(0, name) for name in "abcde"]

    assert lowest(ties, 2) == [(0, "b"), (0, "a")]
    assert lowest(ties, 3) == ties[:3]  # at most twice as many rows: all are sorted, and these are in order


def test_ties_depend_on_the_count() -> None:
    """Ties have another order for another count, but always the same order for the same count."""
    ties = [(0, name) for name in range(250)]
    orders = {count: lowest(ties, count) for count in (20, 40, 60)}

    assert orders[40][:20] != orders[20]
    assert orders[60][20:40] != orders[40][20:]
    assert orders[60] == lowest(ties, 60)
    assert all(len(set(order)) == count for count, order in orders.items())
