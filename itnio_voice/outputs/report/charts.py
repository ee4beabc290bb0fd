"""The charts: Vega-Lite specifications, drawn as SVG that has no script and no style of its own."""

import html
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import attrs
import vl_convert

from .figures import MOST, KindFigures, Rows
from .labels import digits, label, labels

__all__ = ["Chart", "charts"]

WIDE, HALF = 900, 440
"""The widths of charts, in pixels. The page scales them."""
ROW = 19
"""Height of a horizontal bar, in pixels."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# The page's style sheet gives the colours, one set for light and one for dark screens.
BAR, LINE, INK, SOFT, GRID, CARD = (f"var(--{name})" for name in ("bar", "line", "ink", "soft", "grid", "card"))

_ELEMENTS = frozenset({"svg", "g", "path", "rect", "line", "text"})
_ATTRIBUTES = re.compile(
    r"viewBox|transform|d|[xy][12]?|width|height|fill(-opacity)?|stroke(-width|-dasharray|-opacity)?|text-anchor"
    r"|font-(size|weight)|opacity"
)
_DEFAULTS = {("opacity", "1"), ("fill", "none"), ("d", "")}

_Drawn = alt.Chart | alt.LayerChart


@attrs.frozen
class Chart:
    """A chart: its title, its description for screen readers, its SVG, and whether it is as wide as the page."""

    title: str
    description: str
    svg: str
    wide: bool = False


def charts(figures: KindFigures, timezone: str) -> Iterator[Chart]:
    """Yield the charts of a kind that have data."""
    yield from _by_day(figures.by_day)
    yield from _by_hour(figures.by_hour, timezone)
    yield from _bars("Calls by destination", _top(figures.by_destination, "calls"), "calls")
    yield from _bars("Cost by destination, home currency", _top(figures.by_destination, "home"), "cost")
    if figures.summary.unconverted:
        for place, name in enumerate(labels(figures.currencies)):
            yield from _bars(f"Cost by destination in {name}", _top(figures.by_destination, f"cost_{place}"), "cost")
    codes = [
        {"name": f"{row['code']} {label(row['reason'])}".strip(), "value": row["calls"]} for row in figures.by_code
    ]
    yield from _bars("Termination codes", codes, "calls")
    yield from _bars("Calls by phone", _top(figures.by_phone, "calls"), "calls")
    yield from _bars("Keys pressed", [{"name": row["key"], "value": row["calls"]} for row in figures.by_key], "calls")


def _top(rows: Rows, measure: str) -> Rows:
    """Return the rows with the highest values as bars, and the sum of all others as the last bar."""
    with_value: Rows = [
        {"name": row["name"] or "unknown", "value": row[measure], "others": row["others"]} for row in rows
    ]
    ranked = sorted((row for row in with_value if row["value"] and not row["others"]), key=lambda row: -row["value"])
    rest = sum(row["value"] for row in ranked[MOST:]) + sum(row["value"] or 0 for row in with_value if row["others"])
    return [*ranked[:MOST], *([{"name": "all others", "value": rest}] if rest else [])]


def _bars(title: str, rows: Rows, unit: str) -> Iterator[Chart]:
    """Yield horizontal bars in the order of the rows, each with its value at its end."""
    rows = [row for row in rows if row["value"] > 0]
    if not rows:
        return
    shown = labels(row["name"] for row in rows)
    # Only the length of a bar is a float: the text beside it is the exact number.
    data = [
        {"name": name, "place": place, "value": float(row["value"]), "exact": _exact(row["value"])}
        for place, (name, row) in enumerate(zip(shown, rows, strict=True))
    ]
    # Without `stack`, Vega looks rows up by their texts in an object: "constructor" would be found in it.
    x = alt.X("value:Q", title=None, stack=None, axis=None, scale=alt.Scale(domainMin=0))
    y = alt.Y("name:N", title=None, sort=alt.EncodingSortField("place"), axis=alt.Axis(ticks=False, domain=False))
    bars: alt.Chart = _of(data).mark_bar(color=BAR, height={"band": 0.7}).encode(x=x, y=y)
    texts: alt.Chart = _of(data).mark_text(align="left", dx=4, color=INK, fontSize=11).encode(x=x, y=y, text="exact:N")
    both: alt.LayerChart = alt.LayerChart(layer=[bars, texts])
    first = data[0]
    description = (
        f"{title}: bar chart, {_counted(data, 'bar')}. The first is {first['name']} with {first['exact']} {unit}."
    )
    yield Chart(title, description, _svg(both, HALF, ROW * len(data) + 10))


def _exact(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else digits(value, ",")


def _by_day(rows: Rows) -> Iterator[Chart]:
    if not rows:
        return
    # Days are text here: as times they would be shown in the time zone of this machine.
    data: Rows = [{name: row[name] for name in ("day", "calls", "asr", "partial")} for row in rows]
    day = alt.X(
        "day:O",
        title=None,
        axis=alt.Axis(labelExpr="slice(datum.value, 5)", labelAngle=0, labelOverlap=True, labelSeparation=14),
    )
    bars: alt.Chart = (
        _of(data)
        .mark_bar(color=BAR)
        .encode(
            x=day,
            y=alt.Y("calls:Q", title="calls (bars)", axis=alt.Axis(format=",d")),
            opacity=alt.condition("datum.partial", alt.value(0.35), alt.value(1)),
        )
    )
    line: alt.Chart = (
        _of(data)
        .mark_line(color=LINE, strokeWidth=2, point=alt.OverlayMarkDef(color=LINE, size=18))
        .encode(
            x=day,
            y=alt.Y(
                "asr:Q",
                title="ASR (line)",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format=".0%", grid=False),
            ),
        )
    )
    both: alt.LayerChart = alt.LayerChart(layer=[bars, line]).resolve_scale(y="independent")
    most = max(data, key=lambda row: row["calls"])
    title = "Calls and answer-seizure ratio by day"
    description = (
        f"{title}: bars and a line, {_counted(data, 'day')} from {data[0]['day']} to {data[-1]['day']}."
        f" {most['day']} has the most calls, {most['calls']:,}. The table of days has all values."
    )
    yield Chart(title, description, _svg(both, WIDE, 230), wide=True)


def _by_hour(rows: Rows, timezone: str) -> Iterator[Chart]:
    if not rows:
        return
    data: Rows = [{"day": WEEKDAYS[row["weekday"] - 1], "hour": row["hour"], "calls": row["calls"]} for row in rows]
    most = max(data, key=lambda row: row["calls"])
    squares: alt.Chart = (
        _of(data)
        .mark_rect(color=BAR, cornerRadius=2, stroke=CARD, strokeWidth=1)
        .encode(
            x=alt.X("hour:O", title=None, axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=alt.Y("day:N", title=None, sort=list(WEEKDAYS), axis=alt.Axis(ticks=False, domain=False)),
            fillOpacity=alt.FillOpacity(
                "calls:Q", legend=None, scale=alt.Scale(domain=[0, most["calls"]], range=[0.04, 1])
            ),
        )
    )
    title = f"Calls by weekday and hour of the day ({timezone})"
    description = (
        f"{title}: a square for each hour. {most['day']} {most['hour']:02}:00 has the most calls, {most['calls']:,}."
    )
    yield Chart(title, description, _svg(squares, WIDE, 190), wide=True)


def _counted(rows: Rows, name: str) -> str:
    return f"{len(rows)} {name}" + "s" * (len(rows) != 1)


def _of(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _svg(chart: _Drawn, width: int, height: int) -> str:
    """Draw a chart as SVG with only the elements and attributes of the lists above."""
    styled = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"), padding=2
    ).configure(
        aria=False,
        background="transparent",
        font="DejaVu Sans, sans-serif",
        axis=alt.AxisConfig(
            labelColor=SOFT,
            titleColor=SOFT,
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
            gridColor=GRID,
            domainColor=GRID,
            tickColor=GRID,
            labelLimit=170,
        ),
        view=alt.ViewConfig(stroke=None),
    )
    return _written(ET.fromstring(vl_convert.vegalite_to_svg(styled.to_dict())))  # noqa: S314 -- of our own making


def _written(element: "ET.Element[str]") -> str:
    """Return an element as HTML. What is neither known nor seen is left out."""
    tag = element.tag.rpartition("}")[2]
    if tag not in _ELEMENTS or element.get("display") == "none" or element.get("d") == "M0,0h0v0h0Z":
        return ""
    attributes = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in element.items()
        if _ATTRIBUTES.fullmatch(name) and ((name, value) not in _DEFAULTS or (tag, name) == ("g", "fill"))
    )
    inner = html.escape(element.text or "") + "".join(map(_written, element))
    return f"<{tag}{attributes}>{inner}</{tag}>" if inner or tag in {"path", "rect", "line"} else ""
