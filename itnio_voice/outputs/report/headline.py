"""The headline figures, as text for the page and for the terminal."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .figures import MOST, Figures, Headline, Summary
from .labels import digits, labels

__all__ = ["HOME", "NOTHING", "headline_table", "mean", "percent", "rate", "seconds", "totals", "worded"]

NOTHING = "–"
HOME = "Cost in the home currency"


_Text = Callable[[float | None], str]


def _or_nothing(text: Callable[[float], str]) -> _Text:
    return lambda value: NOTHING if value is None else text(value)


percent: _Text = _or_nothing("{:.1%}".format)
mean: _Text = _or_nothing("{:,.1f}".format)
seconds: _Text = _or_nothing("{:,.1f} s".format)


def rate(amount: Decimal) -> str:
    """Return a cost per minute, rounded to five decimals."""
    return f"{amount:,.5f}"


def totals(headline: Headline) -> dict[str, str]:
    """Return the text of each figure of all records, by its name."""
    return {
        "Calls": f"{headline.calls:,}",
        "Answered": f"{headline.answered:,}",
        "Billed": f"{headline.billed_minutes:,.1f} min",
        **_by_currency("Cost in", headline.cost, digits_of),
        **_home(headline),
    }


def worded(summary: Summary) -> dict[str, str]:
    """Return the text of each figure of a kind, by its name."""
    return {
        "Calls": f"{summary.calls:,}",
        "Answered": f"{summary.answered:,}",
        "Answer-seizure ratio (ASR)": percent(summary.answer_seizure_ratio),
        "Network effectiveness ratio (NER)": percent(summary.network_effectiveness_ratio),
        "Average call duration (ACD)": seconds(summary.average_call_duration),
        "Short-call rate": percent(summary.short_call_rate),
        "Post-dial delay (PDD), mean": seconds(summary.post_dial_delay),
        "Post-dial delay (PDD), median": seconds(summary.post_dial_delay_median),
        "Post-dial delay (PDD), p95": seconds(summary.post_dial_delay_p95),
        "Peak concurrency": f"{summary.peak_concurrency:,}" if summary.peak_at else NOTHING,
        "Billed": f"{summary.billed_minutes:,.1f} min",
        "Rounding share": percent(summary.rounding_share),
        **_by_currency("Cost in", summary.cost, digits_of),
        **_by_currency("Cost per minute in", summary.cost_per_minute, rate),
        **_home(summary),
    }


def digits_of(amount: Decimal) -> str:
    """Return all digits of an amount, with separators."""
    return digits(amount, ",")


def _home(figures: Headline | Summary) -> dict[str, str]:
    missing = f" (calls left out: {figures.unconverted:,})" if figures.unconverted else ""
    return {HOME: digits(figures.home_cost, ",") + missing}


def _by_currency(title: str, amounts: Mapping[str, Decimal], text: Callable[[Decimal], str]) -> dict[str, str]:
    shown = dict(zip(labels(amounts), amounts.values(), strict=True))
    others = len(shown) - MOST
    return {
        **{f"{title} {name}": text(amount) for name, amount in list(shown.items())[:MOST]},
        **({f"{title} other currencies": f"{others:,} currencies, not shown"} if others > 0 else {}),
    }


def headline_table(figures: Figures) -> Table:
    """Return the headline figures as a table for the terminal: a column for each kind, and one for both."""
    columns = {kind: worded(of_kind.summary) for kind, of_kind in figures.kinds.items()}
    if len(columns) != 1:
        columns["All calls"] = totals(figures.headline)
    table = Table(box=SIMPLE_HEAD)
    table.add_column()
    for kind in columns:
        table.add_column(kind, justify="right")
    # The names of all columns, each once, in the order of the first column that has it.
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(Text(name), *(Text(column.get(name, "")) for column in columns.values()))
    return table
