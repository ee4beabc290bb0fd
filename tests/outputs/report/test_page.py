"""The page and the terminal table, with hostile record texts and file names."""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice._wire.structuring import structure_record
from itnio_voice.outputs.report import Figures, headline_table, read_figures, write_page
from itnio_voice.outputs.report.charts import charts
from itnio_voice.outputs.report.labels import LONGEST, digits, label, labels
from itnio_voice.sandbox._data.dataset import generate

from .browser import CHROMIUM, run_chromium
from .writing import as_csv, as_duckdb, as_parquet

AT = datetime(2026, 10, 1, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
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
        hangup_time=AT + SECOND * 12,
        call_duration=10,
        charged_duration=60,
        cost=Decimal("0.5"),
        code=text,
        currency=text,
        display_num=text,
        termination_code=text,
        termination_reason=text,
        feedback_value=text,
    )


def evil_phone_call(text: str) -> SipRecord:
    """Return a phone call with a text in every column that the report shows."""
    voice = {name: value for name, value in attrs.asdict(evil_call(text)).items() if name in SHARED}
    return SipRecord(**voice, phone_name=text, sip_group_name=text)


SHARED = {field.name for field in attrs.fields(VoiceRecord)} & {field.name for field in attrs.fields(SipRecord)}


def page_of(figures: Figures, folder: Path, source: str = "calls") -> str:
    """Return the page of some figures."""
    write_page(figures, folder / "report.html", source=source)
    return (folder / "report.html").read_text("utf-8")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its texts outside scripts and style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:  # noqa: D102
        if self.found and self.found[-1][0] not in {"script", "style"}:
            self.texts.append(data)

    def shape(self) -> list[tuple[str, list[str]]]:
        """Return the elements with the names of their attributes."""
        return [(tag, sorted(attributes)) for tag, attributes in self.found]


CALL_OF: dict[type[Any], Callable[[str], Any]] = {VoiceRecord: evil_call, SipRecord: evil_phone_call}


@pytest.fixture(scope="module")
def plain_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[type[Any], str]:
    """Return the pages of one call without special characters, by its kind."""
    folder = tmp_path_factory.mktemp("plain")
    return {
        kind: page_of(read_figures(as_parquet(folder, [call_of("plain")], kind)), folder, source="plain")
        for kind, call_of in CALL_OF.items()
    }


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize("kind", [VoiceRecord, SipRecord])
def test_texts_of_records_cannot_leave_their_place(
    kind: type[Any], text: str, tmp_path: Path, plain_pages: dict[type[Any], str]
) -> None:
    """No text begins an element or an attribute, breaks a line or makes the page long."""
    plain = plain_pages[kind]
    page = page_of(read_figures(as_csv(tmp_path, [CALL_OF[kind](text)], kind)), tmp_path, source=text)

    assert Elements(plain).shape() == Elements(page).shape()
    assert plain.count("<script") == page.count("<script")
    assert plain.count("</script>") == page.count("</script>")
    assert plain.count("\n") == page.count("\n")
    assert len(page) < len(plain) + 200 * LONGEST
    assert all(mark.isprintable() or mark in "\n\u00a0" for mark in page)
    assert html.escape(label(text)) in page


def scripts_and_styles(page: str) -> list[str]:
    """Return the texts of scripts and style sheets."""
    return [text for _, text in re.findall(r"<(script|style)>(.*?)</\1>", page, re.DOTALL)]


def test_page_allows_only_its_own_script_and_style(tmp_path: Path) -> None:
    """The policy names the digests of one script and one style sheet, which are the same in every report."""
    page = page_of(read_figures(as_parquet(tmp_path, [evil_call("A")])), tmp_path)
    other = page_of(read_figures(as_parquet(tmp_path, [])), tmp_path)
    policy = next(a["content"] for _, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts_and_styles(page)
    )

    assert (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none';"
        " form-action 'none'"
    ) == policy
    assert scripts_and_styles(page) == scripts_and_styles(other)
    assert not re.search(r"\beval\b|Function\(|innerHTML|document\.write", scripts_and_styles(page)[1])


def test_page_loads_nothing(tmp_path: Path) -> None:
    """The page has no address of another file, no style attribute and no event handler."""
    page = page_of(read_figures(as_parquet(tmp_path, [evil_call("A")])), tmp_path)
    names = {name for _, attributes in Elements(page).found for name in attributes}

    assert set() == {name for name in names if name.startswith("on")} | (names & {"src", "href", "style", "xlink:href"})
    assert "url(" not in page
    assert ["calls.parquet", "report.html"] == sorted(path.name for path in tmp_path.iterdir())


def test_source_name_that_is_not_unicode_is_escaped(tmp_path: Path) -> None:
    """A file name with bytes that are not UTF-8 is shown with escapes."""
    assert r"caf\udce9" in page_of(read_figures(as_parquet(tmp_path, [])), tmp_path, source="caf\udce9")


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_terminal_shows_texts_as_text(text: str, tmp_path: Path) -> None:
    """A currency neither controls the terminal nor is read as rich's markup."""
    output = io.StringIO()
    figures = read_figures(as_parquet(tmp_path, [evil_call(text)]))
    Console(file=output, width=200, force_terminal=True, color_system=None).print(headline_table(figures))

    assert all(mark.isprintable() or mark == "\n" for mark in output.getvalue())
    assert f"Cost in {label(text)}" in output.getvalue()


def test_page_is_bounded(tmp_path: Path) -> None:
    """Thousands of destinations, callers, codes, keys, currencies, phones and days make a page of less than 1 MB."""
    texts = [f"{number:05}" + '"' * LONGEST for number in range(3000)]
    voice = [
        attrs.evolve(evil_call(text), submit_time=AT + DAY * number * 300, cost=Decimal(number))
        for number, text in enumerate(texts)
    ]
    voice += [evil_call("USD")] * 2 + [VoiceRecord(submit_time=datetime(1, 1, 2, tzinfo=UTC))]
    phone = [attrs.evolve(evil_phone_call(text), submit_time=AT + DAY * number) for number, text in enumerate(texts)]
    figures = read_figures(as_duckdb(tmp_path, voice, phones=phone))
    page = page_of(figures, tmp_path)

    assert "<dt>Cost in USD</dt><dd>1</dd>" in page
    assert "currencies, not shown" in page
    for kind in figures.kinds.values():
        assert 3 == len(kind.currencies)
        assert (12, 366) == (len(kind.by_code), len(kind.by_day))
        assert max(map(len, (kind.by_destination, kind.by_caller, kind.by_phone, kind.by_account))) <= 73
        assert sorted(kind.by_day, key=lambda row: str(row["day"])) == kind.by_day
    assert len(page.encode()) < 1_000_000


def test_page_of_two_busy_months_is_below_a_megabyte(tmp_path: Path) -> None:
    """The page of as many days as the API keeps, of both kinds, is small."""
    kinds: list[tuple[Any, Any]] = [(VoiceRecord, "group"), (SipRecord, "sip")]
    made: dict[Any, list[Any]] = {
        of: [
            structure_record(json.loads(json.dumps(wire)), of)
            for wire in generate(5000, start=AT, end=AT + 61 * DAY, seed=3, kind=kind)
        ]
        for of, kind in kinds
    }
    figures = read_figures(as_duckdb(tmp_path, made[VoiceRecord], phones=made[SipRecord]))

    assert len(page_of(figures, tmp_path).encode()) < 600_000


def test_days_without_calls_are_shown(tmp_path: Path) -> None:
    """A day between others that has no calls is a day of zero calls."""
    records = [VoiceRecord(submit_time=AT), VoiceRecord(submit_time=AT + timedelta(days=2))]
    by_day = read_figures(as_parquet(tmp_path, records)).kinds["Voice messages"].by_day

    assert [1, 0, 1] == [row["calls"] for row in by_day]


def test_rows_with_the_same_label_stay_apart(tmp_path: Path) -> None:
    """Two destinations with one label are two bars and two rows."""
    texts = ["unknown", None, "y" * 200 + "1", "y" * 200 + "2"]
    records = [attrs.evolve(evil_call("A"), code=text) for text in texts]
    figures = read_figures(as_parquet(tmp_path, records))
    page = page_of(figures, tmp_path)

    for name in ("unknown", "unknown (2)"):
        assert page.count(f">{name}<") == 3  # two charts and a table
    for chart in charts(figures.kinds["Voice messages"], "UTC"):
        if "destination" in chart.title:
            assert 4 == len(re.findall(r'<path d="[^"]+" fill="var\(--bar\)"', chart.svg)), chart.title


@pytest.mark.parametrize("text", ["constructor", "__proto__", "plain"])
def test_names_of_javascript_are_drawn_as_texts(text: str, tmp_path: Path) -> None:
    """A text that is also a property of every JavaScript object draws its bars as any other text."""
    kind = read_figures(as_csv(tmp_path, [evil_call(text)])).kinds["Voice messages"]
    drawn = list(charts(kind, "UTC"))

    assert 6 == len(drawn)
    for chart in drawn:
        assert 1 == len(re.findall(r'<path[^>]*fill="var\(--bar\)"', chart.svg)), chart.title


def test_charts_are_described(tmp_path: Path) -> None:
    """Each picture is labelled for screen readers, and its values are in a table or beside its bars."""
    page = Elements(page_of(read_figures(as_parquet(tmp_path, [evil_call("Ruritania")])), tmp_path))
    pictures = [attributes for tag, attributes in page.found if tag == "svg"]

    assert 6 == len(pictures)
    for attributes in pictures:
        assert "img" == attributes["role"]
        assert re.search(r"bars and a line|bar chart|a square for each hour", attributes["aria-label"] or "")
    assert ["col", "row"] == sorted({attributes["scope"] or "" for tag, attributes in page.found if tag == "th"})


def test_values_are_in_tables_without_a_script(tmp_path: Path) -> None:
    """The HTML has the rows, the one with the highest cost first, and the others at the end."""
    records = [
        attrs.evolve(evil_call(f"place {number:03}"), cost=Decimal(number), currency=None) for number in range(150)
    ]
    page = page_of(read_figures(as_parquet(tmp_path, records)), tmp_path)
    table = page[page.index("<h3>Destinations</h3>") :]
    names = re.findall(r'<th scope="row">(.*?)</th>', table[: table.index("</table>")])

    assert [f"place {number:03}" for number in range(149, 129, -1)] == names[:20]
    assert f"all {150 - len(names) + 1} others" == names[-1]


def test_partial_days_are_marked_and_have_no_rates(tmp_path: Path) -> None:
    """The row of a partial day has its sums only; the others have all values."""
    records = [attrs.evolve(evil_call("A"), submit_time=AT + DAY * number, currency=None) for number in range(3)]
    page = page_of(read_figures(as_parquet(tmp_path, records)), tmp_path)
    rows = dict(re.findall(r'<tr><th scope="row">(2026.*?)</th>(.*?)</tr>', page))

    assert ["2026-10-01 (partial)", "2026-10-02", "2026-10-03 (partial)"] == list(rows)
    for day, row in rows.items():
        cells = re.findall(r"<td>(.*?)</td>", row)
        rates = ["–"] * 6 if "partial" in day else ["100.0%", "100.0%", "10.0", "0.0%", "1.0", "1.0"]
        rest = ["–", "0.5", "0.5", "–"] if "partial" in day else ["83.3%", "0.5", "0.5", "0.50000"]
        assert ["1", *rates, "1.0", *rest, "33.3%"] == cells
    assert "2026-10-01 and 2026-10-03 are partial days" in page


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_sufficient() -> None:
    """Text has a contrast of at least 4.5, and marks of at least 3, in the light and in the dark."""
    sheet = (files("itnio_voice.outputs.report") / "page.html").read_text("utf-8")
    roots = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", root)) for root in roots]

    assert 2 == len(schemes)
    for colours in schemes:
        for text in ("ink", "soft"):
            for ground in ("card", "paper"):
                assert contrast(colours[text], colours[ground]) >= 4.5
        assert contrast(colours["bar"], colours["card"]) >= 3
        assert contrast(colours["line"], colours["card"]) >= 3


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


# In a browser

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@in_browser
def test_page_is_shown_under_its_policy(tmp_path: Path) -> None:
    """A browser runs the page's own script and style sheet, and no script of a record's text."""
    page_of(read_figures(as_parquet(tmp_path, [evil_call(text) for text in EVIL])), tmp_path, source=EVIL[0])
    drawn = run_chromium(tmp_path / "report.html", tmp_path, "--dump-dom")

    assert "<title>Call report" in drawn
    assert '<span role="button" tabindex="0">Calls</span>' in drawn
    assert not {"img", "iframe", "object"} & {tag for tag, _ in Elements(drawn).found}


@in_browser
def test_policy_stops_what_is_not_the_pages_own(tmp_path: Path) -> None:
    """Scripts, handlers, style sheets and eval that were put into the page do nothing."""
    page = page_of(read_figures(as_parquet(tmp_path, [evil_call("A")])), tmp_path)
    wrong = (
        "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">"
        "<style>body { --broken: 1 }</style>"
    )
    path = tmp_path / "changed.html"
    path.write_text(page.replace("<main>", f"<main>{wrong}"))

    assert "<title>Call report" in run_chromium(path, tmp_path, "--dump-dom")
    path.write_text(POLICY.sub("", path.read_text()))
    assert "<title>broken" in run_chromium(path, tmp_path, "--dump-dom")


SORT = """<script>
for (const [name, times] of [["Calls", 2], ["Destination", 1], ["Cost, home", 1]]) {
  const table = [...document.querySelectorAll("section")].find(s => s.textContent.startsWith("Destinations"));
  const button = [...table.querySelectorAll("[role=button]")].find(b => b.textContent === name);
  for (let i = 0; i < times; i++) {
    button.dispatchEvent(i ? new MouseEvent("click") : new KeyboardEvent("keydown", {key: "Enter"}));
  }
  const order = [...table.querySelectorAll("tbody tr")].map(row => row.cells[0].textContent).join("");
  const sorted = [...table.querySelectorAll("[aria-sort]")].map(h => h.textContent + h.ariaSort).join("");
  document.body.dataset[name.replace(/[^A-Za-z]/g, "").toLowerCase()] = order + sorted;
}
document.body.dataset.ground = getComputedStyle(document.body).backgroundColor;
</script>"""


@in_browser
def test_tables_can_be_sorted_and_the_page_can_be_dark(tmp_path: Path) -> None:
    """A click on a heading sorts by that column, another one reverses; the colours follow the reader's setting."""
    costs = {"B": (2, "0.5"), "A": (11, "0.01"), "C": (1, "1000")}
    records = [
        attrs.evolve(evil_call(name), currency=None, cost=Decimal(cost))
        for name, (count, cost) in costs.items()
        for _ in range(count)
    ]
    page = page_of(read_figures(as_parquet(tmp_path, records)), tmp_path)
    path = tmp_path / "changed.html"
    path.write_text(POLICY.sub("", page).replace("</body>", f"{SORT}</body>"))
    light = run_chromium(path, tmp_path, "--dump-dom")
    dark = run_chromium(path, tmp_path, "--dump-dom", "--blink-settings=preferredColorScheme=0")

    assert 'data-calls="CBACallsascending"' in light
    assert 'data-destination="ABCDestinationascending"' in light
    assert 'data-costhome="CBACost, homedescending"' in light
    assert 'data-ground="rgb(245, 247, 249)"' in light
    assert 'data-ground="rgb(18, 24, 30)"' in dark


@in_browser
def test_page_is_printed_on_a4(tmp_path: Path) -> None:
    """The sheets are A4, and few."""
    made = [
        structure_record(json.loads(json.dumps(wire)), VoiceRecord)
        for wire in generate(2000, start=AT, end=AT + 30 * DAY, seed=3)
    ]
    page_of(read_figures(as_parquet(tmp_path, made)), tmp_path)
    run_chromium(
        tmp_path / "report.html", tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer"
    )
    printed = (tmp_path / "report.pdf").read_bytes()
    sheets = re.findall(rb"/MediaBox \[0 0 (\d+)\.?\d* (\d+)\.?\d*\]", printed)

    assert {(b"594", b"841")} | {(b"595", b"842")} >= set(sheets)
    assert 3 <= len(sheets) <= 6
