"""The page: headline figures, charts and definitions, in one file that needs no network."""

import html
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import vl_convert

from ..._files.atomic_file import new_file
from .charts import charts
from .figures import Figures
from .headline import NOTHING, worded
from .labels import label

__all__ = ["write_page"]

DEFINITIONS: Mapping[str, str] = {
    "Calls": "Call records. Each counts as one seizure.",
    "Answered": "Calls that have an answer time.",
    "Answer-seizure ratio (ASR)": "Answered calls among all calls (ITU-T E.411).",
    "Average call duration (ACD)": "The mean duration of answered calls.",
    "Post-dial delay (PDD)": (
        "The mean time from the call's beginning until it rings (post-selection delay in ITU-T E.721), over the calls"
        " of which both times are known and in order."
    ),
    "Billed": "The sum of charged durations.",
    "Cost": "The sum of costs, exact, for each currency on its own. Records without a currency are in USD.",
}

WIDE = ("Calls and", "Calls by")
"""The beginnings of the titles of charts that are as wide as the page."""


def write_page(figures: Figures, output: Path, *, source: str, at: datetime | None = None) -> None:
    """Write the page atomically. `source` names where the records come from; `at` is by default the present.

    Raises:
        OSError: if the file cannot be written.
    """
    text = _page(figures, source, at or datetime.now(UTC))
    with new_file(output) as file:
        file.write(text.encode())


def _page(figures: Figures, source: str, at: datetime) -> str:
    headline = figures.headline
    shown = charts(figures)
    period = f"{headline.first or NOTHING} to {headline.last or NOTHING} ({figures.timezone})"
    return Template((files("itnio_voice.outputs.report") / "page.html").read_text("utf-8")).substitute(
        period=html.escape(period),
        source=html.escape(label(source)),
        made=f"{at:%Y-%m-%d %H:%M} UTC",
        cards="\n".join(_card(name, text) for name, text in worded(headline).items()),
        charts="\n".join(_place(number, title) for number, title in enumerate(shown)) or _EMPTY,
        definitions="\n".join(_definition(name, text) for name, text in DEFINITIONS.items()),
        specifications=_script(list(shown.values())),
        library=_library(),
    )


@cache
def _library() -> str:
    """Return the script that draws the charts."""
    return vl_convert.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;")


_EMPTY = '<p class="empty">There are no calls in this file.</p>'


def _card(name: str, text: str) -> str:
    return f'<div class="card"><span>{html.escape(name)}</span><strong>{html.escape(text)}</strong></div>'


def _definition(name: str, text: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"


def _place(number: int, title: str) -> str:
    wide = ' class="wide"' if title.startswith(WIDE) else ""
    return f'<section{wide}><h2>{html.escape(title)}</h2><div class="chart" id="chart-{number}"></div></section>'


def _script(value: Any) -> str:
    """Return a value as JSON that contains neither `</script>` nor a character outside ASCII."""
    return json.dumps(value).replace("<", "\\u003c")
