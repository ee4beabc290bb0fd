"""Days: which are partial, which are compared with the days before, and which are out of line. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import attrs

__all__ = ["Outlier", "ReadRange", "comparable_days", "mark_partial", "outliers"]

LIMIT = 5
"""A day is out of line if it lies more than this many standard deviations, estimated from the MAD, from the others."""
FLOOR = 0.1
"""A day is not out of line if it differs from what is expected by less than this share."""
FEWEST_DAYS = 7
"""The fewest complete days that are examined."""
FEWEST_WEEKS = 3
"""From this number of weeks on, a day is compared with the days of the same weekday."""
FEWEST_CALLS = 30
"""A ratio of a day with fewer calls is not examined."""

_WEEK = 7
_MAD_SCALE, _MEAN_SCALE = 1.482602, 1.253314
"""Factors from the median and the mean of absolute deviations to the standard deviation of a normal distribution."""

Rows = list[dict[str, Any]]


@attrs.frozen
class Outlier:
    """A day that is out of line: its value of a measure, and the value that the other days let expect."""

    day: str
    measure: str
    value: float
    expected: float


@attrs.frozen
class ReadRange:
    """The range that has been read of all accounts, and the earliest start of one of them."""

    since: datetime
    until: datetime
    earliest: datetime


def mark_partial(days: Rows, read: ReadRange | None) -> Rows:
    """Return the rows of days with `partial`, and without ratios and means where it is true.

    A day is partial unless all of it has been read of all accounts. The first day is also partial if reading started
    more than a day before it: the records before may have expired in the middle of the first day. If the range is not
    known, the first and the last day count as partial.
    """
    partial = {row["day"] for row in (*days[:1], *days[-1:])}
    if days and read:
        expired = days[0]["midnight"] - read.earliest >= timedelta(days=1)
        partial = {row["day"] for row in days if row["midnight"] < read.since or row["next_midnight"] > read.until}
        partial |= {days[0]["day"]} if expired else set()
    return [{**row, "partial": False} if row["day"] not in partial else {**row, **_NO_RATES} for row in days]


_RATES = ("asr", "ner", "acd", "short", "pdd", "pdd_median", "pdd_p95", "rounding")
_NO_RATES: Mapping[str, Any] = {"partial": True, **dict.fromkeys(_RATES)}


def comparable_days(complete: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Return the last complete days and as many before them: weeks if there are two, and at most half of the days."""
    half = len(complete) // 2
    length = half - half % _WEEK if half >= _WEEK else half
    if not length:
        return None
    return list(complete[-2 * length : -length]), list(complete[-length:])


def outliers(days: Rows) -> list[Outlier]:
    """Return the complete days that are out of line, by day: of calls, ASR, ACD and the cost in the home currency."""
    complete = [row for row in days if not row["partial"]]
    enough = [row for row in complete if row["calls"] >= FEWEST_CALLS]
    examined = {
        "Calls": ("calls", complete),
        "ASR": ("asr", enough),
        "ACD": ("acd", enough),
        "Cost": ("home", complete),
    }
    found = [outlier for name, (column, rows) in examined.items() for outlier in _of(rows, name, column)]
    return sorted(found, key=lambda outlier: outlier.day)


def _of(rows: Rows, name: str, column: str) -> list[Outlier]:
    """Return the days whose value of a column is out of line."""
    if len(rows) < FEWEST_DAYS:
        return []
    values = [float(row[column] or 0) for row in rows]
    expected = _expected(rows, values)
    deviations = [abs(value - usual) for value, usual in zip(values, expected, strict=True)]
    scale = _MAD_SCALE * median(deviations) or _MEAN_SCALE * sum(deviations) / len(deviations)
    return [
        Outlier(row["day"], name, value, usual)
        for row, value, usual, deviation in zip(rows, values, expected, deviations, strict=True)
        if deviation > max(LIMIT * scale, FLOOR * abs(usual))
    ]


def _expected(rows: Rows, values: Sequence[float]) -> list[float]:
    """Return the value that is expected of each day: the median of its weekday, or of all days if they are few."""
    by_weekday = len(rows) >= FEWEST_WEEKS * _WEEK
    groups: dict[Any, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        groups.setdefault(by_weekday and row["weekday"], []).append(value)
    usual = {group: median(members) for group, members in groups.items()}
    return [usual[by_weekday and row["weekday"]] for row in rows]
