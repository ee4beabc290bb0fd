"""The figures of call records: voice messages and phone calls apart."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import duckdb

from ..._model.records import DEFAULT_CURRENCY
from .days import Outlier, comparable_days, mark_partial, outliers
from .measures import CURRENCIES, FACTS, MEASURES, costs
from .source import PHONE_CALLS, VOICE_MESSAGES, Ranges, opened

__all__ = ["MOST", "ROWS", "Comparison", "Figures", "Headline", "KindFigures", "Summary", "read_figures"]

MOST = 12
"""The maximum number of codes and keys, of currencies in a list of costs, and of bars of a chart."""

ROWS = 72
"""The maximum number of rows of a table: as many of the most calls as of the highest cost, in each currency."""

MOST_DAYS = 366
"""The maximum number of days that are shown. Days without calls are shown only if the range is not longer."""

LONGEST_CALL = 24
"""Hours: a longer call, by its times, does not count for the peak concurrency."""

_HEADLINE = """
    SELECT count(*) AS calls,
           count(*) FILTER (answered) AS answered,
           coalesce(sum(charged_duration), 0) / 60 AS billed_minutes,
           strftime(min(submit_time), '%Y-%m-%d %H:%M') AS first,
           strftime(max(submit_time), '%Y-%m-%d %H:%M') AS last,
           coalesce(sum(home), 0) AS home_cost,
           count(*) FILTER (unconverted) AS unconverted
    FROM facts
"""
_COST = """
    SELECT quoted_in AS currency, sum(cost) AS cost, coalesce(sum(charged_duration), 0) AS seconds
    FROM {calls} WHERE cost IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1
"""
_SUMMARY = f"SELECT {MEASURES} FROM {{calls}}"
_PEAK = f"""
    WITH spans AS (
        SELECT least(call_time, ringing_time, answer_time) AS started, hangup_time AS ended FROM {{calls}}
    ), events AS (
        SELECT unnest([started, ended]) AS instant, unnest([1, -1]) AS step FROM spans
        WHERE started < ended AND ended - started <= INTERVAL {LONGEST_CALL} HOUR
    ), instants AS (
        SELECT instant, sum(step) AS step FROM events GROUP BY instant
    )
    SELECT sum(step) OVER (ORDER BY instant) AS peak, strftime(instant, '%Y-%m-%d %H:%M:%S') AS peak_at
    FROM instants ORDER BY peak DESC, instant LIMIT 1
"""
_BY_DAY = f"""
    WITH days AS (
        SELECT day, {MEASURES}{{costs}} FROM {{calls}} WHERE day IS NOT NULL GROUP BY day
    ), span AS (
        SELECT min(day) AS first, max(day) AS last FROM days
    ), every AS (
        SELECT day FROM days
        UNION
        SELECT unnest(generate_series(first, last, INTERVAL 1 DAY))::DATE FROM span WHERE last - first < {MOST_DAYS}
    ), latest AS (
        SELECT day FROM every ORDER BY day DESC LIMIT {MOST_DAYS}
    )
    SELECT * REPLACE (strftime(day, '%Y-%m-%d') AS day, coalesce(calls, 0) AS calls),
           isodow(latest.day) AS weekday,
           day::TIMESTAMPTZ AS midnight,
           (day + INTERVAL 1 DAY)::TIMESTAMPTZ AS next_midnight
    FROM latest LEFT JOIN days USING (day) ORDER BY latest.day
"""
_BY_NAME = f"""
    WITH named AS (
        SELECT *, {{name}} AS name FROM {{calls}}
    ), sums AS (
        SELECT name, count(*) AS calls, coalesce(sum(home), 0) AS home{{costs}} FROM named GROUP BY name
    ), shown AS (
        SELECT name FROM sums QUALIFY {{ranks}}
    ), rest AS (
        SELECT sums.name FROM sums ANTI JOIN shown ON sums.name IS NOT DISTINCT FROM shown.name
    )
    SELECT name, false AS others, {MEASURES}{{costs}} FROM named
    WHERE EXISTS (SELECT 1 FROM shown WHERE shown.name IS NOT DISTINCT FROM named.name) GROUP BY name
    UNION ALL
    SELECT (SELECT count(*)::VARCHAR FROM rest), true, {MEASURES}{{costs}} FROM named
    WHERE EXISTS (SELECT 1 FROM rest WHERE rest.name IS NOT DISTINCT FROM named.name) HAVING count(*) > 0
    ORDER BY others, calls DESC, name
"""
_BY_CODE = f"""
    SELECT coalesce(termination_code, 'none yet') AS code, coalesce(mode(termination_reason), '') AS reason,
           count(*) AS calls
    FROM {{calls}} GROUP BY 1 ORDER BY calls DESC, code LIMIT {MOST}
"""
_BY_HOUR = """
    SELECT isodow(submit_time) AS weekday, hour(submit_time) AS hour, count(*) AS calls
    FROM {calls} WHERE submit_time IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_BY_KEY = f"""
    WITH keys AS (
        SELECT feedback_value AS key, count(*) AS calls
        FROM {{calls}} WHERE feedback_value <> '-1' GROUP BY 1 ORDER BY calls DESC, key LIMIT {MOST}
    )
    SELECT * FROM keys ORDER BY key
"""
_PHONE = "nullif(concat_ws('/', sip_group_name, phone_name), '')"

Rows = list[dict[str, Any]]


@attrs.frozen(kw_only=True)
class Headline:
    """The figures of all records, of both kinds.

    `first` and `last` are the minutes of the first and the last call, in the time zone of the report. `cost` is the sum
    of each currency, the one with the most records first. `home_cost` is the sum in the home currency: `settle_pay`
    where the API sent it, and the cost of records in US dollars. `unconverted` records have a cost, but neither.
    """

    calls: int
    answered: int
    billed_minutes: float
    first: str | None
    last: str | None
    cost: Mapping[str, Decimal]
    home_cost: Decimal
    unconverted: int


@attrs.frozen(kw_only=True)
class Summary:
    """The figures of one kind of record. Delays and durations are seconds, ratios are from 0 to 1.

    A ratio, a mean or a quantile without a call to compute it from is None. `peak_at` is in the report's time zone.
    """

    calls: int
    answered: int
    answer_seizure_ratio: float | None
    network_effectiveness_ratio: float | None
    average_call_duration: float | None
    short_call_rate: float | None
    post_dial_delay: float | None
    post_dial_delay_median: float | None
    post_dial_delay_p95: float | None
    billed_minutes: float
    rounding_share: float | None
    peak_concurrency: int
    peak_at: str | None
    cost: Mapping[str, Decimal]
    cost_per_minute: Mapping[str, Decimal]
    home_cost: Decimal
    unconverted: int


@attrs.frozen(kw_only=True)
class Comparison:
    """The figures of the last complete days and of as many complete days before them. Days are dates as text."""

    before: Summary
    after: Summary
    before_days: list[str]
    after_days: list[str]


@attrs.frozen(kw_only=True)
class KindFigures:
    """The figures of voice messages or of phone calls: the summary, and tables of rows.

    `currencies` are those of the columns `cost_0`, `cost_1` and so on. `comparison` is None without two complete days.
    `range_known` is whether the file says which range was read; if not, its first and last day count as partial.
    `calls_per_day` and `home_cost_per_day` are means of the complete days, None without one.
    """

    summary: Summary
    calls_per_day: float | None
    home_cost_per_day: Decimal | None
    currencies: list[str]
    range_known: bool
    comparison: Comparison | None
    outliers: list[Outlier]
    by_day: Rows
    by_hour: Rows
    by_destination: Rows
    by_account: Rows
    by_caller: Rows
    by_phone: Rows
    by_code: Rows
    by_key: Rows


@attrs.frozen(kw_only=True)
class Figures:
    """The figures of a file: of all its records, and of each kind that it has records of."""

    timezone: str
    headline: Headline
    kinds: Mapping[str, KindFigures]


def read_figures(source: Path, *, timezone: str = "UTC", dataset: str | None = None) -> Figures:
    """Read the figures of an exported file (.parquet, .arrow, .csv, .jsonl) or of a DuckDB database that `sync` fills.

    Days and hours are those of the time zone. `dataset` is the schema of a database that has several.

    Raises:
        ValueError: if the file does not hold call records, or the time zone is unknown.
        OSError: if it cannot be opened, or another process writes to the database.
    """
    with opened(source, timezone=timezone, dataset=dataset) as (connection, ranges):
        connection.execute(FACTS)
        cost = {row["currency"]: row["cost"] for row in _rows(connection, _COST.format(calls="facts"))}
        headline = Headline(**_rows(connection, _HEADLINE)[0], cost=cost)
        found = {row["kind"] for row in _rows(connection, "SELECT DISTINCT kind FROM calls")}
        kinds = {kind: _kind(connection, kind, ranges) for kind in (VOICE_MESSAGES, PHONE_CALLS) if kind in found}
        return Figures(timezone=timezone, headline=headline, kinds=kinds)


def _rows(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> Rows:
    cursor = connection.execute(query, parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _kind(connection: duckdb.DuckDBPyConnection, kind: str, ranges: Ranges) -> KindFigures:
    """Return the figures of a kind."""
    connection.execute(f"CREATE OR REPLACE VIEW of_kind AS FROM facts WHERE kind = '{kind}'")
    summary = _summary(connection, "of_kind")
    # Names of currencies are texts of strangers: they are a table's values, never a part of a query.
    currencies = list(summary.cost)[:CURRENCIES]
    connection.execute("CREATE OR REPLACE TABLE currencies (quoted_in VARCHAR, place INTEGER)")
    for place, name in enumerate(currencies):
        connection.execute("INSERT INTO currencies VALUES (?, ?)", [name, place])
    connection.execute("CREATE OR REPLACE VIEW priced AS FROM of_kind LEFT JOIN currencies USING (quoted_in)")
    sums = costs(len(currencies))

    def rows(query: str, **parts: str) -> Rows:
        return _rows(connection, query.format(calls="priced", costs=sums, **parts))

    # In the default currency, a cost is one in the home currency.
    others = range(len(currencies)) if currencies != [DEFAULT_CURRENCY] else ()
    orders = ["calls", "home", *(f"coalesce(cost_{number}, 0)" for number in others)]
    most = ROWS // len(orders)
    ranks = " OR ".join(f"row_number() OVER (ORDER BY {order} DESC, name) <= {most}" for order in orders)
    by_day = mark_partial(rows(_BY_DAY), ranges.get(kind))
    complete = [row for row in by_day if not row["partial"]]
    home_cost = sum((row["home"] for row in complete if row["home"]), start=Decimal(0))
    return KindFigures(
        summary=summary,
        calls_per_day=sum(row["calls"] for row in complete) / len(complete) if complete else None,
        home_cost_per_day=home_cost / len(complete) if complete else None,
        currencies=currencies,
        range_known=kind in ranges,
        comparison=_comparison(connection, [row["day"] for row in complete]),
        outliers=outliers(by_day),
        by_day=by_day,
        by_hour=rows(_BY_HOUR),
        by_destination=rows(_BY_NAME, name="code", ranks=ranks),
        by_account=rows(_BY_NAME, name="account", ranks=ranks),
        by_caller=rows(_BY_NAME, name="display_num", ranks=ranks),
        by_phone=rows(_BY_NAME, name=_PHONE, ranks=ranks) if kind == PHONE_CALLS else [],
        by_code=rows(_BY_CODE),
        by_key=rows(_BY_KEY),
    )


def _summary(connection: duckdb.DuckDBPyConnection, calls: str) -> Summary:
    """Return the figures of the rows of a view."""
    found = _rows(connection, _SUMMARY.format(calls=calls))[0]
    peak = (_rows(connection, _PEAK.format(calls=calls)) or [{"peak": 0, "peak_at": None}])[0]
    cost = _rows(connection, _COST.format(calls=calls))
    return Summary(
        calls=found["calls"],
        answered=found["answered"],
        answer_seizure_ratio=found["asr"],
        network_effectiveness_ratio=found["ner"],
        average_call_duration=found["acd"],
        short_call_rate=found["short"],
        post_dial_delay=found["pdd"],
        post_dial_delay_median=found["pdd_median"],
        post_dial_delay_p95=found["pdd_p95"],
        billed_minutes=found["minutes"],
        rounding_share=found["rounding"],
        peak_concurrency=int(peak["peak"]),
        peak_at=peak["peak_at"],
        cost={row["currency"]: row["cost"] for row in cost},
        cost_per_minute={row["currency"]: row["cost"] * 60 / row["seconds"] for row in cost if row["seconds"] > 0},
        home_cost=found["home"] or Decimal(0),
        unconverted=found["unconverted"],
    )


def _comparison(connection: duckdb.DuckDBPyConnection, complete: list[str]) -> Comparison | None:
    """Compare the last complete days with as many complete days before them."""
    if not (periods := comparable_days(complete)):
        return None
    found: list[Summary] = []
    for days in periods:
        # The days are dates as DuckDB wrote them.
        where = f"day BETWEEN '{days[0]}' AND '{days[-1]}'"
        connection.execute(f"CREATE OR REPLACE VIEW of_period AS FROM of_kind WHERE {where}")
        found.append(_summary(connection, "of_period"))
    before, after = periods
    return Comparison(before=found[0], after=found[1], before_days=before, after_days=after)
