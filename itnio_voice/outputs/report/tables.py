"""The tables of the page, as HTML that can be read without a script."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from .days import Outlier
from .figures import KindFigures, Rows, Summary
from .headline import HOME, NOTHING, mean, percent, rate, worded
from .labels import digits, label, labels

__all__ = ["comparison_table", "day_table", "group_table", "outlier_table", "plain_table"]


_HOME = "Cost, home"


@attrs.frozen
class Column:
    """A column: its title, and the text of a row's cell. Numbers are aligned at the right."""

    title: str
    text: Callable[[Mapping[str, Any]], str]
    number: bool = True


def _column(title: str, key: str, text: Callable[[Any], str]) -> Column:
    return Column(title, lambda row: NOTHING if row[key] is None else text(row[key]))


def _count(value: int) -> str:
    return f"{value:,}"


_MEASURES = (
    _column("Calls", "calls", _count),
    _column("ASR", "asr", percent),
    _column("NER", "ner", percent),
    _column("ACD,\u00a0s", "acd", mean),
    _column("Short", "short", percent),
    _column("PDD p50,\u00a0s", "pdd_median", mean),
    _column("PDD p95,\u00a0s", "pdd_p95", mean),
    _column("Billed,\u00a0min", "minutes", mean),
    _column("Rounding", "rounding", percent),
)


def _money(currencies: Sequence[str], total: Decimal) -> list[Column]:
    """Return the columns of costs, with the shares of the total in the home currency."""

    def exact(amount: Decimal) -> str:
        return digits(amount, ",")

    def share(row: Mapping[str, Any]) -> str:
        return percent(float((row["home"] or 0) / total)) if total else NOTHING

    def per_minute(row: Mapping[str, Any]) -> str:
        known = row["home"] and row["minutes"] and not row.get("partial")
        return rate(row["home"] / Decimal(row["minutes"])) if known else NOTHING

    in_each = [_column(f"Cost, {name}", f"cost_{place}", exact) for place, name in enumerate(labels(currencies))]
    return [*in_each, _column(_HOME, "home", exact), Column("per min", per_minute), Column("Share", share)]


def group_table(title: str, rows: Rows, figures: KindFigures) -> str:
    """Return a table of destinations, accounts, callers or phones, the one with the highest cost first."""
    shown = sorted((row for row in rows if not row["others"]), key=lambda row: row["home"] or 0, reverse=True)
    names = labels(row["name"] or "unknown" for row in shown)
    named = [{**row, "label": name} for row, name in zip(shown, names, strict=True)]
    others = [{**row, "label": f"all {int(row['name']):,} others"} for row in rows if row["others"]]
    columns = [
        Column(title, lambda row: row["label"], number=False),
        *_MEASURES,
        *_money(figures.currencies, figures.summary.home_cost),
    ]
    return _table(columns, named, others, sorted_by=_HOME)


def day_table(figures: KindFigures) -> str:
    """Return the table of days. Partial days have no ratios and means."""

    def day(row: Mapping[str, Any]) -> str:
        return f"{row['day']} (partial)" if row["partial"] else str(row["day"])

    columns = [
        Column("Day", day, number=False),
        *_MEASURES,
        *_money(figures.currencies, figures.summary.home_cost),
    ]
    return _table(columns, figures.by_day)


def comparison_table(figures: KindFigures) -> str:
    """Return the figures of the last complete days beside those of as many days before; empty without two days."""
    if not (compared := figures.comparison):
        return ""
    before, after = worded(compared.before), worded(compared.after)
    rows = [
        {"name": name, "before": before.get(name, NOTHING), "after": text, "change": change}
        for name, text in after.items()
        if (change := _change(compared.before, compared.after, name)) is not None
    ]
    columns = [
        Column("Figure", lambda row: row["name"], number=False),
        Column(f"{compared.before_days[0]} to {compared.before_days[-1]}", lambda row: row["before"]),
        Column(f"{compared.after_days[0]} to {compared.after_days[-1]}", lambda row: row["after"]),
        Column("Change", lambda row: row["change"]),
    ]
    return _table(columns, rows, sortable=False)


_POINTS: Mapping[str, Callable[[Summary], float | None]] = {
    "Answer-seizure ratio (ASR)": lambda figures: figures.answer_seizure_ratio,
    "Network effectiveness ratio (NER)": lambda figures: figures.network_effectiveness_ratio,
    "Short-call rate": lambda figures: figures.short_call_rate,
    "Rounding share": lambda figures: figures.rounding_share,
}
_AMOUNTS: Mapping[str, Callable[[Summary], float | Decimal | None]] = {
    "Calls": lambda figures: figures.calls,
    "Answered": lambda figures: figures.answered,
    "Average call duration (ACD)": lambda figures: figures.average_call_duration,
    "Post-dial delay (PDD), mean": lambda figures: figures.post_dial_delay,
    "Post-dial delay (PDD), median": lambda figures: figures.post_dial_delay_median,
    "Post-dial delay (PDD), p95": lambda figures: figures.post_dial_delay_p95,
    "Peak concurrency": lambda figures: figures.peak_concurrency,
    "Billed": lambda figures: figures.billed_minutes,
    HOME: lambda figures: figures.home_cost,
}


def _change(before: Summary, after: Summary, name: str) -> str | None:
    """Return a change in percent, of a ratio in percentage points; None for a figure that is not compared."""
    if name in _POINTS:
        old, new = _POINTS[name](before), _POINTS[name](after)
        return NOTHING if old is None or new is None else f"{(new - old) * 100:+.1f} pp"
    if name in _AMOUNTS:
        one, other = _AMOUNTS[name](before), _AMOUNTS[name](after)
        return NOTHING if not one or other is None else f"{float(other) / float(one) - 1:+.1%}"
    return None


def outlier_table(found: Sequence[Outlier]) -> str:
    """Return the table of the days that are out of line; empty if there is none."""
    text: Mapping[str, Callable[[float], str]] = {"ASR": "{:.1%}".format, "ACD": "{:,.1f} s".format}
    columns = [
        Column("Day", lambda row: row["day"], number=False),
        Column("Figure", lambda row: row["measure"], number=False),
        Column("Value", lambda row: row["value"]),
        Column("Expected", lambda row: row["expected"]),
    ]
    rows = []
    for outlier in found:
        shown = text.get(outlier.measure, "{:,.6g}".format)
        rows.append(
            {
                "day": outlier.day,
                "measure": outlier.measure,
                "value": shown(outlier.value),
                "expected": shown(outlier.expected),
            }
        )
    return _table(columns, rows) if rows else ""


def plain_table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of texts and numbers, as they are in the rows."""

    def cell(place: int) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: row["cells"][place]

    found = [{"cells": [_count(cell) if isinstance(cell, int) else label(cell) for cell in row]} for row in rows]
    columns = [Column(title, cell(place), number=place == len(titles) - 1) for place, title in enumerate(titles)]
    return _table(columns, found)


def _table(
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    others: Iterable[Mapping[str, Any]] = (),
    *,
    sorted_by: str | None = None,
    sortable: bool = True,
) -> str:
    """Return a table. The script of the page makes it sortable; the rows of `others` stay at its end."""
    order = {sorted_by: ' aria-sort="descending"'}
    heads = "".join(
        f'<th scope="col"{_class(column)}{order.get(column.title, "")}>{html.escape(column.title)}</th>'
        for column in columns
    )
    body = "\n".join(_row(columns, row) for row in rows)
    foot = "\n".join(_row(columns, row) for row in others)
    foot = f"<tfoot>\n{foot}\n</tfoot>" if foot else ""
    kind = ' class="sortable"' if sortable else ""
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<div class="scroll"><table{kind}>{head}<tbody>\n{body}\n</tbody>{foot}</table></div>'


def _class(column: Column) -> str:
    return "" if column.number else ' class="text"'


def _row(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    cells = [html.escape(column.text(row)) for column in columns]
    first = f'<th scope="row">{cells[0]}</th>'
    rest = zip(columns[1:], cells[1:], strict=True)
    return f"<tr>{first}{''.join(f'<td{_class(column)}>{cell}</td>' for column, cell in rest)}</tr>"
