"""The page: figures, charts, tables and definitions, in one file that needs no network."""

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from ..._files.atomic_file import new_file
from .charts import Chart, charts
from .definitions import DEFINITIONS
from .figures import Figures, KindFigures
from .headline import NOTHING, mean, rate, totals, worded
from .labels import label
from .tables import comparison_table, day_table, group_table, outlier_table, plain_table

__all__ = ["write_page"]


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
    period = f"{headline.first or NOTHING} to {headline.last or NOTHING} ({figures.timezone})"
    parts = [_kind(kind, of_kind, figures.timezone) for kind, of_kind in figures.kinds.items()]
    if len(parts) > 1:
        parts.insert(0, _cards(totals(headline)))
    template = (files("itnio_voice.outputs.report") / "page.html").read_text("utf-8")
    return Template(template).substitute(
        policy=_policy(template),
        period=html.escape(period),
        source=html.escape(label(source)),
        made=f"{at:%Y-%m-%d %H:%M} UTC",
        content="\n".join(parts) or _EMPTY,
        definitions="\n".join(_definition(name, text) for name, text in DEFINITIONS.items()),
    )


def _policy(template: str) -> str:
    """Return a Content-Security-Policy that allows the template's own script and style sheet, and nothing else."""
    allowed = [
        f"{directive} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for directive, element in (("script-src", "script"), ("style-src", "style"))
        for text in re.findall(rf"<{element}>(.*?)</{element}>", template, re.DOTALL)
    ]
    return "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])


_EMPTY = '<p class="empty">There are no calls in this file.</p>'


def _kind(kind: str, figures: KindFigures, timezone: str) -> str:
    """Return the part of the page about a kind."""
    drawn = list(charts(figures, timezone))
    wide = "\n".join(_figure(chart) for chart in drawn if chart.wide)
    half = "\n".join(_figure(chart) for chart in drawn if not chart.wide)
    return "\n".join(
        [
            f"<h2>{kind}</h2>",
            *_partial_days(figures),
            _cards(_card_texts(figures)),
            wide,
            *_sections(
                ("The last complete days and those before", comparison_table(figures)),
                ("Days out of line", outlier_table(figures.outliers)),
            ),
            f'<div class="charts">\n{half}\n</div>' if half else "",
            *_sections(
                ("Destinations", group_table("Destination", figures.by_destination, figures)),
                ("Accounts", _unless_unknown("Account", figures.by_account, figures)),
                ("Callers", group_table("Caller", figures.by_caller, figures)),
                ("Phones", group_table("Phone", figures.by_phone, figures) if figures.by_phone else ""),
                ("Days", day_table(figures) if figures.by_day else ""),
            ),
            '<div class="charts">',
            *_sections(("Termination codes", _codes(figures)), ("Keys pressed", _keys(figures))),
            "</div>",
        ]
    )


def _card_texts(figures: KindFigures) -> dict[str, str]:
    text = worded(figures.summary)
    if figures.summary.peak_at:
        peak = text.pop("Peak concurrency")
        text[f"Peak concurrency, {figures.summary.peak_at}"] = peak
    if figures.home_cost_per_day is not None:
        text["Calls per day"] = mean(figures.calls_per_day)
        text["Cost per day, home currency"] = rate(figures.home_cost_per_day)
    return text


def _partial_days(figures: KindFigures) -> Iterator[str]:
    """Yield a paragraph about the days of which only a part was read."""
    partial = [row["day"] for row in figures.by_day if row["partial"]]
    if partial:
        why = "" if figures.range_known else " The file does not say which range was read."
        be = "is a partial day" if len(partial) == 1 else "are partial days"
        left_out = "left out of the rates per day, the comparison and the days out of line"
        yield f"<p>{' and '.join(partial)} {be}, {left_out}.{why}</p>"


def _unless_unknown(title: str, rows: list[dict[str, object]], figures: KindFigures) -> str:
    """Return the table of a group that not every file has; empty without it."""
    return group_table(title, rows, figures) if any(row["name"] is not None for row in rows) else ""


def _codes(figures: KindFigures) -> str:
    return plain_table(
        ["Code", "Most frequent reason", "Calls"],
        ([row["code"], row["reason"] or NOTHING, row["calls"]] for row in figures.by_code),
    )


def _keys(figures: KindFigures) -> str:
    rows = [[row["key"], row["calls"]] for row in figures.by_key]
    return plain_table(["Key", "Calls"], rows) if rows else ""


def _sections(*sections: tuple[str, str]) -> Iterator[str]:
    """Yield the sections that have a table."""
    for title, table in sections:
        if table:
            yield f"<section><h3>{html.escape(title)}</h3>{table}</section>"


def _cards(texts: dict[str, str]) -> str:
    cards = "\n".join(
        f'<div class="card"><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>'
        for name, text in texts.items()
    )
    return f'<dl class="cards">\n{cards}\n</dl>'


def _figure(chart: Chart) -> str:
    picture = chart.svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(chart.description)}"', 1)
    return f"<figure><figcaption>{html.escape(chart.title)}</figcaption>{picture}</figure>"


def _definition(name: str, text: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
