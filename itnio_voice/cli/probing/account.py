"""The questions about the server as a whole: its clock, its speed, and the form of its answers."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

from .answers import PAGE_FIELDS, Answer
from .exchange import Exchange
from .findings import Finding, certain, likely, not_known

__all__ = ["FORMS", "SERVER", "ask_server", "forms_of"]

SERVER = ("missing_record", "timestamp_tolerance", "clock_skew", "latency")
FORMS = ("duplicates", "omits", "null_records", "numbers_as_text", "status_as_number", "byte_order_mark", "gzip")

FAR_OFF = 600.0
"""The difference of the one timestamp that is sent to measure the tolerance, in seconds."""


async def ask_server(exchange: Exchange) -> list[Finding]:
    """Request a record that does not exist, with a right timestamp and with one that is ten minutes old."""
    missing = await exchange.missing_record()
    accepted = await exchange.accepts_timestamp(-FAR_OFF)
    return [
        not_known("missing_record", "the answer is another one")
        if missing is None
        else certain("missing_record", missing, "a record with an unknown id was requested"),
        _tolerance(accepted),
        _clock(exchange.offset),
        _latency(exchange.latencies),
    ]


def _tolerance(accepted: bool | None) -> Finding:  # noqa: FBT001 -- its only argument
    text = f"a timestamp that is {FAR_OFF:.0f} s old"
    if accepted:
        return likely("timestamp_tolerance", FAR_OFF, f"at least: {text} is accepted")
    reason = f"less than {FAR_OFF:.0f} s: {text} is -16" if accepted is False else f"{text} has no answer"
    return not_known("timestamp_tolerance", reason)


def _clock(offset: float | None) -> Finding:
    if offset is None:
        return not_known("clock_skew", "the answers have no Date, or one that jumps")
    return certain("clock_skew", round(offset, 1), "the Date of all answers, to a second")


def _latency(latencies: list[float]) -> Finding:
    if not latencies:
        return not_known("latency", "there is no answer")
    slow = sorted(latencies)[int(len(latencies) * 0.95)]
    return likely("latency", round(median(latencies), 3), f"the median of {len(latencies)}; 95 % within {slow:.3f} s")


def forms_of(exchange: Exchange) -> list[Finding]:
    """Return the forms of all pages so far; no request is sent."""
    forms = [answer.form for answer in exchange.answers if answer.form is not None]
    if not forms:
        return []
    pages = f"{len(forms)} pages"
    sent = frozenset[str]().union(*(form.fields for form in forms))
    found = [_duplicates(exchange.answers), certain("omits", sorted(set(PAGE_FIELDS) - sent), pages)]
    for name in FORMS[2:-1]:
        values = {value for form in forms if (value := getattr(form, name)) is not None}
        if len(values) == 1:
            found.append(certain(name, values.pop(), pages))
        else:
            found.append(not_known(name, "pages differ" if values else "no page shows it"))
    gzip = (
        likely("gzip", value=True, evidence=pages) if exchange.compressed else not_known("gzip", "no answer was gzip")
    )
    return [*found, gzip]


def _duplicates(answers: Iterable[Answer]) -> Finding:
    """Return the share of records that a page has twice."""
    counts = [Counter(filter(None, answer.ids)) for answer in answers]
    distinct = set[str]().union(*counts)
    twice = {voice_id for count in counts for voice_id, times in count.items() if times > 1}
    if not distinct:
        return not_known("duplicates", "there are no records with ids")
    text = f"{len(twice)} of {len(distinct)} records are twice on a page"
    return likely("duplicates", round(len(twice) / len(distinct), 3), text)
