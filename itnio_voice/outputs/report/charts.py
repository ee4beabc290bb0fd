"""The charts: Vega-Lite specifications, by their titles."""

from typing import Any

import altair as alt

from .figures import Figures, Rows
from .labels import digits, label, labels

__all__ = ["charts"]

BLUE, ORANGE = "#2f6690", "#e07a3f"
SCALE = ["#eef3f7", "#9dbbd2", "#2f6690", "#16324a"]
ROW = 24
"""Height of a horizontal bar, in pixels."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Chart = alt.Chart | alt.LayerChart


def charts(figures: Figures) -> dict[str, dict[str, Any]]:
    """Return the specification of each chart that has data, by its title."""
    by_destination = _labelled(figures.by_destination, "destination")
    made: dict[str, Chart | None] = {
        "Calls and answer-seizure ratio by day": _by_day(figures.by_day),
        f"Calls by weekday and hour ({figures.timezone})": _by_hour(figures.by_hour),
        "Average call duration by destination": _bars(by_destination, "acd", "destination", "seconds", order="place"),
        "Post-dial delay by destination": _bars(by_destination, "pdd", "destination", "seconds", order="place"),
        "Termination codes": _bars(_labelled(_with_reason(figures.by_code), "code"), "calls", "code", "calls"),
    }
    currencies = list(dict.fromkeys(row["currency"] for row in figures.by_currency))
    for currency, name in zip(currencies, labels(currencies), strict=True):
        # Only the length of a bar is a float: the text that it shows is the exact amount.
        rows = [
            {**row, "currency": name, "cost": float(row["cost"]), "exact": f"{digits(row['cost'])} {name}"}
            for row in figures.by_currency
            if row["currency"] == currency
        ]
        made[f"Cost by destination in {name}"] = _bars(
            _labelled(rows, "destination"), "cost", "destination", "cost", order="place", tooltip="exact"
        )
    made["Keys pressed"] = _bars(_labelled(figures.by_key, "key"), "calls", "key", "calls", order="key")
    return {title: _specification(chart) for title, chart in made.items() if chart}


def _specification(chart: Chart) -> dict[str, Any]:
    styled = chart.properties(width="container").configure(
        font="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
        background="transparent",
        axis=alt.AxisConfig(
            labelColor="#44505c",
            titleColor="#6b7783",
            titleFontWeight="normal",
            gridColor="#e6ebef",
            domainColor="#c3ccd4",
            tickColor="#c3ccd4",
            labelLimit=190,
        ),
        view=alt.ViewConfig(stroke=None),
    )
    specification: dict[str, Any] = styled.to_dict()
    return specification


def _of(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _by_day(rows: Rows) -> Chart | None:
    if not rows:
        return None
    # Days are text here: as times they would be shown in the browser's time zone.
    day = alt.X(
        "day:O",
        title=None,
        axis=alt.Axis(labelExpr="slice(datum.value, 5)", labelAngle=0, labelOverlap=True, labelSeparation=14),
    )
    tooltips = [
        alt.Tooltip("day:O"),
        alt.Tooltip("calls:Q", format=",d"),
        alt.Tooltip("asr:Q", title="ASR", format=".1%"),
    ]
    bars: alt.Chart = (
        _of(rows)
        .mark_bar(color=BLUE, opacity=0.85)
        .encode(x=day, y=alt.Y("calls:Q", title="calls", axis=alt.Axis(format=",d", titleColor=BLUE)), tooltip=tooltips)
    )
    line: alt.Chart = (
        _of(rows)
        .mark_line(color=ORANGE, strokeWidth=2, point=alt.OverlayMarkDef(color=ORANGE, size=18))
        .encode(
            x=day,
            y=alt.Y(
                "asr:Q",
                title="ASR",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format=".0%", titleColor=ORANGE, grid=False),
            ),
            tooltip=tooltips,
        )
    )
    both: Chart = alt.LayerChart(layer=[bars, line]).resolve_scale(y="independent").properties(height=260)
    return both


def _bars(
    rows: Rows, value: str, name: str, unit: str, *, order: str | None = None, tooltip: str | None = None
) -> Chart | None:
    """Return horizontal bars, one for each row that has a value."""
    rows = [row for row in rows if row[value] is not None]
    if not rows:
        return None
    sort: Any = alt.EncodingSortField(order) if order else None
    shown = f"{tooltip}:N" if tooltip else alt.Tooltip(f"{value}:Q", title=unit, format=",.4~f")
    bars: alt.Chart = (
        _of(rows)
        .mark_bar(color=BLUE, opacity=0.85, height={"band": 0.7})
        .encode(
            # Without `stack`, Vega looks rows up by their texts in an object: "constructor" would be found in it.
            x=alt.X(f"{value}:Q", title=unit, stack=None, axis=alt.Axis(tickCount=5, domain=False)),
            y=alt.Y(f"{name}:N", title=None, sort=sort, axis=alt.Axis(ticks=False)),
            tooltip=[f"{name}:N", shown],
        )
    )
    return bars.properties(height=ROW * len(rows))


def _labelled(rows: Rows, name: str) -> Rows:
    """Return rows whose texts of one column are labels. Rows with one label would be drawn as one bar."""
    return [{**row, name: text} for row, text in zip(rows, labels(row[name] for row in rows), strict=True)]


def _with_reason(rows: Rows) -> Rows:
    return [{"code": f"{row['code']} {label(row['reason'])}".strip(), "calls": row["calls"]} for row in rows]


def _by_hour(rows: Rows) -> Chart | None:
    if not rows:
        return None
    named = [{**row, "day": WEEKDAYS[row["weekday"] - 1]} for row in rows]
    squares: alt.Chart = (
        _of(named)
        .mark_rect(cornerRadius=2, stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("hour:O", title="hour of the day", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=alt.Y("day:N", title=None, sort=list(WEEKDAYS), axis=alt.Axis(ticks=False, domain=False)),
            color=alt.Color("calls:Q", title="calls", scale=alt.Scale(range=SCALE)),
            tooltip=["day:N", "hour:O", alt.Tooltip("calls:Q", format=",d")],
        )
    )
    return squares.properties(height=ROW * len(WEEKDAYS))
