"""What the records say, in figures: each is a query."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from ..models import USUAL_CURRENCY
from .source import opened

__all__ = ["MOST", "Figures", "Headline", "read_figures"]

MOST = 12
"""So many destinations and codes are told apart; the others are one."""

_HEADLINE = """
    SELECT count(*) AS calls,
           count(answer_time) AS answered,
           count(answer_time) / nullif(count(*), 0) AS answer_seizure_ratio,
           avg(coalesce(call_duration, 0)) FILTER (answer_time IS NOT NULL) AS average_call_duration,
           avg(epoch(ringing_time - call_time)) FILTER (ringing_time >= call_time) AS post_dial_delay,
           coalesce(sum(charged_duration), 0) / 60 AS billed_minutes,
           strftime(min(submit_time), '%Y-%m-%d %H:%M') AS first,
           strftime(max(submit_time), '%Y-%m-%d %H:%M') AS last
    FROM calls
"""
_COST = f"""
    SELECT coalesce(currency, '{USUAL_CURRENCY}') AS currency, sum(cost) AS cost FROM calls
    WHERE cost IS NOT NULL GROUP BY 1 ORDER BY 1
"""
_BY_DAY = """
    WITH days AS (
        SELECT submit_time::DATE AS day, count(*) AS calls, count(answer_time) / count(*) AS asr
        FROM calls WHERE submit_time IS NOT NULL GROUP BY 1
    ), every AS (
        SELECT unnest(generate_series(min(day), max(day), INTERVAL 1 DAY))::DATE AS day FROM days
    )
    SELECT strftime(day, '%Y-%m-%d') AS day, coalesce(calls, 0) AS calls, asr
    FROM every LEFT JOIN days USING (day) ORDER BY 1
"""
_BY_DESTINATION = f"""
    WITH ranked AS (
        SELECT code, row_number() OVER (ORDER BY count(*) DESC, code) AS place FROM calls GROUP BY code
    )
    SELECT CASE WHEN place <= {MOST} THEN coalesce(calls.code, 'unknown') ELSE 'all others' END AS destination,
           least(place, {MOST} + 1) AS place,
           count(*) AS calls,
           count(answer_time) / count(*) AS asr,
           avg(coalesce(call_duration, 0)) FILTER (answer_time IS NOT NULL) AS acd,
           avg(epoch(ringing_time - call_time)) FILTER (ringing_time >= call_time) AS pdd
    FROM calls JOIN ranked ON calls.code IS NOT DISTINCT FROM ranked.code
    GROUP BY 1, 2 ORDER BY 2
"""
_BY_CODE = f"""
    SELECT coalesce(termination_code, 'none yet') AS code, coalesce(mode(termination_reason), '') AS reason,
           count(*) AS calls
    FROM calls GROUP BY 1 ORDER BY calls DESC, code LIMIT {MOST}
"""
_BY_CURRENCY = f"""
    WITH sums AS (
        SELECT code, coalesce(currency, '{USUAL_CURRENCY}') AS currency, sum(cost) AS cost
        FROM calls WHERE cost IS NOT NULL GROUP BY 1, 2
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY currency ORDER BY cost DESC, code) AS place FROM sums
    )
    SELECT CASE WHEN place <= {MOST} THEN coalesce(code, 'unknown') ELSE 'all others' END AS destination,
           least(place, {MOST} + 1) AS place, currency, sum(cost) AS cost
    FROM ranked GROUP BY 1, 2, 3 HAVING sum(cost) <> 0 ORDER BY 3, 2
"""
_BY_HOUR = """
    SELECT isodow(submit_time) AS weekday, hour(submit_time) AS hour, count(*) AS calls
    FROM calls WHERE submit_time IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_BY_KEY = """
    SELECT feedback_value AS key, count(*) AS calls
    FROM calls WHERE feedback_value <> '-1' GROUP BY 1 ORDER BY 1
"""
_TABLES = {
    "by_day": _BY_DAY,
    "by_destination": _BY_DESTINATION,
    "by_code": _BY_CODE,
    "by_currency": _BY_CURRENCY,
    "by_hour": _BY_HOUR,
    "by_key": _BY_KEY,
}

Rows = list[dict[str, Any]]


@attrs.frozen(kw_only=True)
class Headline:
    """The figures of all records; None where there is nothing to divide. Durations and delays are seconds.

    `first` and `last` are the minutes of the first and the last call, in the time zone of the report.
    """

    calls: int
    answered: int
    answer_seizure_ratio: float | None
    average_call_duration: float | None
    post_dial_delay: float | None
    billed_minutes: float
    first: str | None
    last: str | None
    cost: Mapping[str, Decimal]


@attrs.frozen(kw_only=True)
class Figures:
    """What a file's records say: the headline, and a table of rows for each chart."""

    timezone: str
    headline: Headline
    by_day: Rows
    by_destination: Rows
    by_code: Rows
    by_currency: Rows
    by_hour: Rows
    by_key: Rows


def read_figures(source: Path, *, timezone: str = "UTC") -> Figures:
    """Read the figures of a Parquet file that was exported, or of a DuckDB file that is synced.

    Days and hours are those of the time zone.

    Raises:
        ValueError: if the file holds no call records.
        OSError: if it is not there.
    """
    with opened(source, timezone=timezone) as connection:

        def rows(query: str) -> Rows:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        cost = {row["currency"]: row["cost"] for row in rows(_COST)}
        headline = Headline(**rows(_HEADLINE)[0], cost=cost)
        return Figures(timezone=timezone, headline=headline, **{name: rows(query) for name, query in _TABLES.items()})
