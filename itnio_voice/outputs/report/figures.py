"""The figures of call records: a query each."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from ..._model.records import DEFAULT_CURRENCY
from .source import opened

__all__ = ["MOST", "Figures", "Headline", "read_figures"]

MOST = 12
"""The maximum number of destinations, codes, keys and currencies that are shown individually."""

MOST_DAYS = 1000
"""The maximum number of days that are shown. Days without calls are shown only if the range is not longer."""

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
    SELECT coalesce(currency, '{DEFAULT_CURRENCY}') AS currency, sum(cost) AS cost FROM calls
    WHERE cost IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1
"""
_BY_DAY = f"""
    WITH days AS (
        SELECT submit_time::DATE AS day, count(*) AS calls, count(answer_time) / count(*) AS asr
        FROM calls WHERE submit_time IS NOT NULL GROUP BY 1
    ), span AS (
        SELECT min(day) AS first, max(day) AS last FROM days
    ), every AS (
        SELECT day FROM days
        UNION
        SELECT unnest(generate_series(first, last, INTERVAL 1 DAY))::DATE FROM span WHERE last - first < {MOST_DAYS}
    ), latest AS (
        SELECT day FROM every ORDER BY day DESC LIMIT {MOST_DAYS}
    )
    SELECT strftime(day, '%Y-%m-%d') AS day, coalesce(calls, 0) AS calls, asr
    FROM latest LEFT JOIN days USING (day) ORDER BY latest.day
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
        SELECT code, coalesce(currency, '{DEFAULT_CURRENCY}') AS currency, sum(cost) AS cost, count(*) AS calls
        FROM calls WHERE cost IS NOT NULL GROUP BY 1, 2
    ), commonest AS (
        SELECT currency FROM sums GROUP BY currency ORDER BY sum(calls) DESC, currency LIMIT {MOST}
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY currency ORDER BY cost DESC, code) AS place
        FROM sums SEMI JOIN commonest USING (currency)
    )
    SELECT CASE WHEN place <= {MOST} THEN coalesce(code, 'unknown') ELSE 'all others' END AS destination,
           least(place, {MOST} + 1) AS place, currency, sum(cost) AS cost
    FROM ranked GROUP BY 1, 2, 3 HAVING sum(cost) <> 0 ORDER BY 3, 2
"""
_BY_HOUR = """
    SELECT isodow(submit_time) AS weekday, hour(submit_time) AS hour, count(*) AS calls
    FROM calls WHERE submit_time IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_BY_KEY = f"""
    WITH keys AS (
        SELECT feedback_value AS key, count(*) AS calls
        FROM calls WHERE feedback_value <> '-1' GROUP BY 1 ORDER BY calls DESC, key LIMIT {MOST}
    )
    SELECT * FROM keys ORDER BY key
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
    """The figures of all records. Durations and delays are seconds; a ratio or mean without a divisor is None.

    `first` and `last` are the minutes of the first and the last call, in the time zone of the report. `cost` is the sum
    of each currency, the one with the most records first.
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
    """The figures of a file: the headline, and a table of rows for each chart."""

    timezone: str
    headline: Headline
    by_day: Rows
    by_destination: Rows
    by_code: Rows
    by_currency: Rows
    by_hour: Rows
    by_key: Rows


def read_figures(source: Path, *, timezone: str = "UTC", dataset: str | None = None) -> Figures:
    """Read the figures of an exported file (.parquet, .arrow, .csv, .jsonl) or of a DuckDB database that `sync` fills.

    Days and hours are those of the time zone. `dataset` is the schema of a database that has several.

    Raises:
        ValueError: if the file does not hold call records, or the time zone is unknown.
        OSError: if it cannot be opened, or another process writes to the database.
    """
    with opened(source, timezone=timezone, dataset=dataset) as connection:

        def rows(query: str) -> Rows:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        cost = {row["currency"]: row["cost"] for row in rows(_COST)}
        headline = Headline(**rows(_HEADLINE)[0], cost=cost)
        return Figures(timezone=timezone, headline=headline, **{name: rows(query) for name, query in _TABLES.items()})
