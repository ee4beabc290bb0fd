"""The page and the terminal table, with hostile record texts and file names."""

import html
import io
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest
import vl_convert
from rich.console import Console

from itnio_voice import VoiceRecord
from itnio_voice.outputs.report import Figures, headline_table, read_figures, write_page
from itnio_voice.outputs.report.charts import charts
from itnio_voice.outputs.report.labels import LONGEST, digits, label, labels

from .writing import as_csv, as_parquet

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AT = datetime(2026, 10, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVIL = [
    '</script><script>document.title="broken"</script>',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    '"; alert(1); "',
    "';alert(1)//",
    "\\u003c/script>",
    "two\nlines",
    "two\u2028lines",
    "nul\x00nul",
    "\x1b]8;;https://example.com\x07\x1b[31m",
    "\u202ereversed\u2066",
    "[red]markup[/] [/]",
    "${figures} $cards {{x}}",
    "__proto__",
    "constructor",
    "x" * 100_000,
]


def evil_call(text: str) -> VoiceRecord:
    """Return an answered call with a text in every column that the report shows."""
    return VoiceRecord(
        submit_time=AT,
        call_time=AT,
        ringing_time=AT + SECOND,
        answer_time=AT + SECOND * 2,
        call_duration=10,
        charged_duration=60,
        cost=Decimal("0.5"),
        code=text,
        currency=text,
        termination_code=text,
        termination_reason=text,
        feedback_value=text,
    )


def page_of(figures: Figures, folder: Path, source: str = "calls") -> str:
    """Return the page of some figures."""
    write_page(figures, folder / "report.html", source=source)
    return (folder / "report.html").read_text("utf-8")


def without_scripts(page: str) -> str:
    """Return the HTML of a page."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_texts_of_records_cannot_leave_their_place(text: str, tmp_path: Path) -> None:
    """No text ends a script, begins an element, breaks a line or makes the page long."""
    plain = page_of(read_figures(as_parquet(tmp_path, [evil_call("plain")])), tmp_path, source="plain")
    page = page_of(read_figures(as_csv(tmp_path, [evil_call(text)])), tmp_path, source=text)

    assert re.findall(r"<[^>]+>", re.sub("plain", "", without_scripts(plain))) == re.findall(
        r"<[^>]+>", without_scripts(page)
    )
    assert plain.count("<script") == page.count("<script")
    assert plain.count("</script>") == page.count("</script>")
    assert plain.count("\n") == page.count("\n")
    assert len(page) < len(plain) + 100 * LONGEST
    assert all(mark.isprintable() or mark == "\n" for mark in without_scripts(page))
    assert html.escape(label(text)) in page


def test_page_loads_nothing(tmp_path: Path) -> None:
    """The page has no address of another file, and forbids to load one."""
    page = page_of(read_figures(as_parquet(tmp_path, [evil_call("A")])), tmp_path)

    assert [] == re.findall(r"(?:src|href)=", without_scripts(page))
    assert "default-src 'none'" in page
    assert ["calls.parquet", "report.html"] == sorted(path.name for path in tmp_path.iterdir())


def test_source_name_that_is_not_unicode_is_escaped(tmp_path: Path) -> None:
    """A file name with bytes that are not UTF-8 is shown with escapes."""
    assert r"caf\udce9" in page_of(read_figures(as_parquet(tmp_path, [])), tmp_path, source="caf\udce9")


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_terminal_shows_texts_as_text(text: str, tmp_path: Path) -> None:
    """A currency neither controls the terminal nor is read as rich's markup."""
    output = io.StringIO()
    figures = read_figures(as_parquet(tmp_path, [evil_call(text)]))
    Console(file=output, width=200, force_terminal=True, color_system=None).print(headline_table(figures.headline))

    assert all(mark.isprintable() or mark == "\n" for mark in output.getvalue())
    assert f"Cost in {label(text)}" in output.getvalue()


def test_page_is_bounded(tmp_path: Path) -> None:
    """Thousands of destinations, codes, keys, currencies and days make a page of the same size."""
    records = [
        attrs.evolve(evil_call(f"{number:05}"), submit_time=AT + timedelta(days=number * 300)) for number in range(5000)
    ]
    records += [evil_call("USD")] * 2 + [VoiceRecord(submit_time=datetime(1, 1, 2, tzinfo=UTC))]
    figures = read_figures(as_parquet(tmp_path, records))
    page = page_of(figures, tmp_path)

    assert "<span>Cost in USD</span><strong>1</strong>" in page
    assert "4,989 currencies, not shown" in page
    assert 12 == len(re.findall("Cost by destination in", page))
    assert (5001, 13, 12, 12, 1000) == (
        len(figures.headline.cost),
        len(figures.by_destination),
        len(figures.by_code),
        len(figures.by_key),
        len(figures.by_day),
    )
    assert sorted(figures.by_day, key=lambda row: str(row["day"])) == figures.by_day
    assert len(page) < 3_000_000


def test_days_without_calls_are_shown(tmp_path: Path) -> None:
    """A day between others that has no calls is a day of zero calls."""
    records = [VoiceRecord(submit_time=AT), VoiceRecord(submit_time=AT + timedelta(days=2))]

    assert [1, 0, 1] == [row["calls"] for row in read_figures(as_parquet(tmp_path, records)).by_day]


def elements(page: str) -> set[str]:
    """Return the names of the elements of a page."""
    found = set[str]()

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, _: object) -> None:
            found.add(tag)

    Elements().feed(page)
    return found


def specifications(page: str) -> list[dict[str, Any]]:
    """Return the specifications of a page's charts."""
    line = next(line for line in page.splitlines() if line.startswith("const specifications = "))
    return list(json.loads(line.removeprefix("const specifications = ").removesuffix(";")))


def test_rows_with_the_same_label_stay_apart(tmp_path: Path) -> None:
    """Two destinations with one label are two bars: one bar would show the sum of two means."""
    texts = ["unknown", None, "y" * 200 + "1", "y" * 200 + "2"]
    records = [attrs.evolve(evil_call("A"), code=text) for text in texts]
    page = page_of(read_figures(as_parquet(tmp_path, records)), tmp_path)
    rows = [rows for chart in specifications(page) for rows in chart["datasets"].values() if "destination" in rows[0]]

    assert 3 == len(rows)
    for destinations in rows:
        assert 4 == len({row["destination"] for row in destinations})


@pytest.mark.parametrize("text", ["constructor", "__proto__", "plain"])
def test_names_of_javascript_are_drawn_as_texts(text: str, tmp_path: Path) -> None:
    """A text that is also a property of every JavaScript object draws its bars as any other text."""
    figures = read_figures(as_csv(tmp_path, [evil_call(text)]))
    drawn = [vl_convert.vegalite_to_svg(chart) for chart in charts(figures).values()]

    assert 7 == len(drawn)
    for picture in drawn:
        assert 1 == len(re.findall('aria-roledescription="(?:bar|rect mark)"', picture))


def test_labels_are_short_and_distinct() -> None:
    """A label is short and printable, and different texts have different labels."""
    assert r"a\nb" == label("a\nb")
    assert LONGEST == len(label("\x00" * 99)) == len(label("x" * 10**7))
    assert ["A", "A (2)", "B", "A (3)"] == labels(["A", "A", "B", "A"])


def test_all_digits_of_amounts_are_shown() -> None:
    """All digits of an amount are shown, where a context of 28 digits would round."""
    assert "99,999,999,999,999,999,999.999999999999999999" == digits(Decimal("9" * 20 + "." + "9" * 18), ",")
    assert ["0", "100", "0.1", "-0.000000000000000002", "1,000"] == [
        digits(Decimal(text), ",") for text in ("0E-18", "100.00", "0.100", "-2E-18", "1E+3")
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_charts_of_hostile_texts_are_drawn(tmp_path: Path) -> None:
    """A browser runs no script of a text, and draws every chart."""
    figures = read_figures(as_parquet(tmp_path, [evil_call(text) for text in EVIL]))
    page = page_of(figures, tmp_path, source=EVIL[0])
    quiet = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    command = [str(CHROMIUM), *quiet.split(), f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"]
    address = (tmp_path / "report.html").as_uri()
    drawn = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, check=True).stdout  # noqa: S603

    assert "data-failed" not in drawn
    assert "<title>Call report" in drawn
    assert len(specifications(page)) == len(re.findall(r'<svg[^>]*class="marks"', drawn))
    assert not {"img", "script"} & elements(without_scripts(drawn))
