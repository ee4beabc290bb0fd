"""A second reader of answers, slow and simple, that the tests compare the library's reader with."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from itnio_voice import Page, RecordingURL, SipRecord, VoiceRecord
from itnio_voice._model.records import CallRecord

__all__ = [
    "MisreadError",
    "Rule",
    "check_answer",
    "expect",
    "expect_count",
    "expect_number",
    "expect_text",
    "expect_time",
    "reference_number",
]


class MisreadError(AssertionError):
    """A value differs from the answer that it was read from."""


def reference_text(value: Any) -> str | None:
    """Read text, or a number as its digits."""
    if isinstance(value, bool | list | dict):
        message = f"{value!r:.80} is no text"
        raise MisreadError(message)
    return None if value is None else str(value) or None


def reference_number(value: Any) -> Decimal | None:
    """Read a number, or a text of one."""
    if value in (None, ""):
        return None
    digits = reference_text(value) or ""
    if not re.fullmatch(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?\s*", digits, re.IGNORECASE):
        message = f"{value!r:.80} is no number"
        raise MisreadError(message)
    return Decimal(digits)


DATES: tuple[tuple[str, Callable[..., date]], ...] = (
    (r"(\d{4})-(\d\d)-(\d\d)", date),
    (r"(\d{4})(\d\d)(\d\d)", date),
    (r"(\d{4})-?W(\d\d)-?(\d)", date.fromisocalendar),
    (r"(\d{4})-?W(\d\d)", lambda year, week: date.fromisocalendar(year, week, 1)),
)
CLOCK = r"(?s:.)(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)? ?(?:Z|([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?)"


def reference_time(value: Any) -> tuple[datetime, timedelta] | None:
    """Read an ISO 8601 time with an offset, as the local time and the offset."""
    if value in (None, ""):
        return None
    for pattern, day in DATES:
        if found := re.fullmatch(f"(?P<day>{pattern}){CLOCK}", str(value), re.ASCII):
            parts = re.fullmatch(pattern, found["day"], re.ASCII)
            assert parts
            hour, minute, second, fraction, sign, *offset = found.groups()[-8:]
            aside = [int(part or 0) for part in offset]
            if max(aside[1:]) > 59:
                break
            at = datetime.combine(day(*map(int, parts.groups())), datetime.min.time())
            at += timedelta(hours=int(hour), minutes=int(minute or 0), seconds=int(second or 0))
            at += timedelta(microseconds=int((fraction or "").ljust(6, "0")[:6]))
            ahead = timedelta(hours=aside[0], minutes=aside[1], seconds=aside[2])
            return at, -ahead if sign == "-" else ahead
    message = f"{value!r:.80} is no time"
    raise MisreadError(message)


def python_name(wire: str) -> str:
    """Return the attribute's name for a wire name."""
    return re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), wire)


def expect(name: str, expected: object, actual: object) -> None:
    """Check that a value equals the expected one, in type and digits too."""
    if (expected, repr(expected)) != (actual, repr(actual)):
        message = f"{name} is {actual!r:.100}, but the answer says {expected!r:.100}"
        raise MisreadError(message)


def expect_text(name: str, value: object, text: object) -> None:
    """Check that a text is that of a JSON value."""
    expect(name, reference_text(value), text)


def expect_time(name: str, value: object, at: object) -> None:
    """Check that a time is that of a JSON value."""
    expect(name, reference_time(value), (at.replace(tzinfo=None), at.utcoffset()) if isinstance(at, datetime) else at)


def expect_number(name: str, value: object, number: object) -> None:
    """Check that an amount is that of a JSON value."""
    expect(name, reference_number(value), number)


def expect_count(name: str, value: object, count: object) -> None:
    """Check that an integer is that of a JSON value."""
    number = reference_number(value)
    if type(count) is not (type(None) if number is None else int) or count != number:
        message = f"{name} is {count!r:.100}, but the answer says {number!r:.100}"
        raise MisreadError(message)


Rule = Callable[[str, object, object], None]
COMMON: tuple[tuple[Rule, str], ...] = (
    (expect_text, "voiceId callee displayNum code terminationCode terminationReason billPeriod currency"),
    (expect_time, "submitTime callTime ringingTime answerTime hangupTime"),
    (expect_number, "cost rate settleRate quoteExchange settlePay"),
    (expect_count, "callDuration chargedDuration"),
)
RULES: dict[type[CallRecord], tuple[tuple[Rule, str], ...]] = {
    VoiceRecord: (*COMMON, (expect_text, "voiceFileId feedbackValue calledInfo"), (expect_number, "baseCost")),
    SipRecord: (*COMMON, (expect_text, "sipGroupName phoneName recordingFileId")),
}


def check_record(record: CallRecord, row: Any) -> None:
    """Compare a record with its row, field by field."""
    of = type(record)
    known = {"extra"}
    for rule, names in RULES[of]:
        for wire in names.split():
            known.add(wire)
            rule(wire, row.get(wire), getattr(record, python_name(wire)))
    expect("extra", {name: row[name] for name in sorted(row) if name not in known - {"extra"}}, dict(record.extra))
    assert set(map(python_name, known)) == {field.name for field in attrs.fields(of)}


def check_page(page: Page[Any], data: Any, size: int) -> None:
    """Compare a page with its data; `size` is the requested page size."""
    expect_count("total", data.get("total"), page.total)
    expect_count("size", data["size"] if reference_number(data.get("size")) else size, page.size)
    assert all(count is None or count >= 0 for count in (page.total, page.size, page.pages))
    current = reference_number(data.get("current"))
    rows = data.get("records") or []
    if current is None or current == page.current:
        expect_count("pages", data.get("pages"), page.pages)
        expect("the number of records", len(rows), len(page.records))
        for record, row in zip(page.records, rows, strict=True):
            check_record(record, row)
    else:
        expect("the records of another page", (), page.records)


def check_answer(body: bytes, value: Any, size: int, voice_id: str) -> None:
    """Compare a value with the answer that it was read from; `size` and `voice_id` are the requested ones."""
    # Unknown fields may contain numbers that no type can hold.
    text = body.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    loads = json.JSONDecoder(
        strict=False, parse_int=number_or_text(int), parse_float=number_or_text(Decimal), parse_constant=refuse
    ).decode
    answer = without_surrogates(loads(text))
    expect("status", "0", str(answer["status"]))
    data = answer["data"]
    match value:
        case Page():
            check_page(value, data, size)
        case RecordingURL():
            expect("url", data["url"], value.url)
            assert isinstance(value.url, str)
            assert value.url
            milliseconds = reference_number(data.get("expireTime"))
            expires = (
                None
                if milliseconds is None
                else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))
            )
            expect("expireTime", expires, value.expires_at)
        case _:
            check_record(value, data)
            assert value.voice_id in (None, voice_id)


def without_surrogates(answer: dict[str, Any]) -> dict[str, Any]:
    """Replace each surrogate in the values of an answer by U+FFFD, in place; return the answer.

    It does not call itself: Python 3.12 limits the depth of calls through `map` more than that of JSON.
    """
    unread: list[Any] = [answer]
    while unread:
        container = unread.pop()
        for place, item in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(item, str):
                container[place] = "".join("\ufffd" if 0xD800 <= ord(mark) < 0xE000 else mark for mark in item)
            elif isinstance(item, list | dict):
                unread.append(item)
    return answer


def number_or_text(kind: Callable[[str], object]) -> Callable[[str], object]:
    """Return a function that converts digits to a number, or to text if the type cannot hold them."""

    def hold(digits: str) -> object:
        try:
            return kind(digits)
        except (ValueError, InvalidOperation):
            return digits + " is too large"

    return hold


def refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have."""
    message = f"{constant} was read"
    raise MisreadError(message)
