"""The figures of all records, as words for the page and the terminal alike."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from .figures import Headline

__all__ = ["NOTHING", "headline_table", "worded"]

NOTHING = "–"


def worded(headline: Headline) -> dict[str, str]:
    """Return each figure by its name."""
    ratio, length, delay = headline.answer_seizure_ratio, headline.average_call_duration, headline.post_dial_delay
    return {
        "Calls": f"{headline.calls:,}",
        "Answered": f"{headline.answered:,}",
        "Answer-seizure ratio (ASR)": NOTHING if ratio is None else f"{ratio:.1%}",
        "Average call duration (ACD)": NOTHING if length is None else f"{length:.1f} s",
        "Post-dial delay (PDD)": NOTHING if delay is None else f"{delay:.1f} s",
        "Billed": f"{headline.billed_minutes:,.1f} min",
        **{f"Cost in {currency}": f"{cost.normalize():,f}" for currency, cost in headline.cost.items()},
    }


def headline_table(headline: Headline) -> Table:
    """Return the figures as a table for the terminal."""
    table = Table(show_header=False, box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(justify="right")
    for name, text in worded(headline).items():
        table.add_row(name, text)
    return table
