"""The headline figures, as text for the page and for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .figures import MOST, Headline
from .labels import digits, labels

__all__ = ["NOTHING", "headline_table", "worded"]

NOTHING = "–"


def worded(headline: Headline) -> dict[str, str]:
    """Return the text of each figure, by its name."""
    shown = dict(zip(labels(headline.cost), headline.cost.values(), strict=True))
    others = list(shown)[MOST:]
    ratio, length, delay = headline.answer_seizure_ratio, headline.average_call_duration, headline.post_dial_delay
    return {
        "Calls": f"{headline.calls:,}",
        "Answered": f"{headline.answered:,}",
        "Answer-seizure ratio (ASR)": NOTHING if ratio is None else f"{ratio:.1%}",
        "Average call duration (ACD)": NOTHING if length is None else f"{length:.1f} s",
        "Post-dial delay (PDD)": NOTHING if delay is None else f"{delay:.1f} s",
        "Billed": f"{headline.billed_minutes:,.1f} min",
        **{f"Cost in {name}": digits(cost, ",") for name, cost in list(shown.items())[:MOST]},
        **({"Cost in other currencies": f"{len(others):,} currencies, not shown"} if others else {}),
    }


def headline_table(headline: Headline) -> Table:
    """Return the headline figures as a table for the terminal."""
    table = Table(show_header=False, box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(justify="right")
    for name, text in worded(headline).items():
        table.add_row(Text(name), Text(text))
    return table
