"""Whatever the bytes of an answer: a value that is right and can be used, or one of our errors, in bounded cost.

Each input is drawn from its number alone. `ITNIO_FUZZ` says how many are tried, `ITNIO_FUZZ_FROM` the first number: an
input that failed is tried again by `ITNIO_FUZZ=1 ITNIO_FUZZ_FROM=<its number>`, and then kept in `FOUND`.
"""

import copy
import json
import os
import pickle
import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnio_voice import ItnioError, Page, RecordingURL, SipRecord, VoiceRecord, Window
from itnio_voice._model.records import CallRecord
from itnio_voice._walk.seen import page_keys
from itnio_voice._wire.pages import PageRequest
from itnio_voice._wire.responses import read_page, read_record, read_recording_url
from itnio_voice._wire.scalars import amount, integer, timestamp

INPUTS = int(os.environ.get("ITNIO_FUZZ", "2000"))
FIRST = int(os.environ.get("ITNIO_FUZZ_FROM", "0"))
LONGEST_MESSAGE = 1000

START = datetime(2022, 1, 1, tzinfo=UTC)
REQUEST = PageRequest(Window(START, START + timedelta(days=1)), 1, 20)
ID = "2203031113381000002"

Reader = Callable[[bytes], Any]
READERS: dict[str, Reader] = {
    "page of voice records": lambda body: read_page(body, REQUEST, VoiceRecord),
    "page of phone records": lambda body: read_page(body, REQUEST, SipRecord),
    "page 3": lambda body: read_page(body, attrs.evolve(REQUEST, current=3), VoiceRecord),
    "record": lambda body: read_record(body, ID, VoiceRecord),
    "phone record": lambda body: read_record(body, ID, SipRecord),
    "recording": lambda body: read_recording_url(body, ID),
}


# What is right: a second, slow reading, by the standard library and rules of its own.


class MisreadError(AssertionError):
    """What came out is not what the answer says."""


def slow_text(value: Any) -> str | None:
    """Read text, or a number as its digits."""
    if isinstance(value, bool | list | dict):
        message = f"{value!r:.80} is no text"
        raise MisreadError(message)
    return None if value is None else str(value) or None


def slow_number(value: Any) -> Decimal | None:
    """Read a number, or text that is one."""
    if value in (None, ""):
        return None
    digits = slow_text(value) or ""
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


def slow_time(value: Any) -> tuple[datetime, timedelta] | None:
    """Read an ISO 8601 time with an offset, as the time on that clock and the offset."""
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
    """Return the attribute of a wire name."""
    return re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), wire)


def expect(what: str, expected: object, actual: object) -> None:
    """Refuse a value that is not the one expected, of the type expected, with the digits expected."""
    if (expected, repr(expected)) != (actual, repr(actual)):
        message = f"{what} is {actual!r:.100}, but the answer says {expected!r:.100}"
        raise MisreadError(message)


def expect_text(what: str, value: object, text: object) -> None:
    """Refuse text that is not what a value tells."""
    expect(what, slow_text(value), text)


def expect_time(what: str, value: object, at: object) -> None:
    """Refuse a time that is not the one that a value tells."""
    expect(what, slow_time(value), (at.replace(tzinfo=None), at.utcoffset()) if isinstance(at, datetime) else at)


def expect_number(what: str, value: object, number: object) -> None:
    """Refuse an amount that is not the one that a value tells."""
    expect(what, slow_number(value), number)


def expect_count(what: str, value: object, count: object) -> None:
    """Refuse a whole number that is not the one that a value tells."""
    number = slow_number(value)
    if type(count) is not (type(None) if number is None else int) or count != number:
        message = f"{what} is {count!r:.100}, but the answer says {number!r:.100}"
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
    told = {"extra"}
    for rule, names in RULES[of]:
        for wire in names.split():
            told.add(wire)
            rule(wire, row.get(wire), getattr(record, python_name(wire)))
    expect("extra", {name: row[name] for name in sorted(row) if name not in told - {"extra"}}, dict(record.extra))
    assert set(map(python_name, told)) == {field.name for field in attrs.fields(of)}


def check_page(page: Page[Any], data: Any) -> None:
    """Compare a page with the data that it was read from."""
    expect_count("total", data.get("total"), page.total)
    expect_count("size", data["size"] if slow_number(data.get("size")) else REQUEST.size, page.size)
    assert all(count is None or count >= 0 for count in (page.total, page.size, page.pages))
    told = slow_number(data.get("current"))
    rows = data.get("records") or []
    if told is None or told == page.current:
        expect_count("pages", data.get("pages"), page.pages)
        expect("the number of records", len(rows), len(page.records))
        for record, row in zip(page.records, rows, strict=True):
            check_record(record, row)
    else:
        expect("the records of another page", (), page.records)


def check(body: bytes, value: Any) -> None:
    """Compare what was read with the answer that it was read from."""
    # Numbers that nothing can hold may stand where nothing is read.
    text = body.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    loads = json.JSONDecoder(strict=False, parse_int=held(int), parse_float=held(Decimal), parse_constant=refuse).decode
    answer = without_halves(loads(text))
    expect("status", "0", str(answer["status"]))
    data = answer["data"]
    match value:
        case Page():
            check_page(value, data)
        case RecordingURL():
            expect("url", data["url"], value.url)
            assert isinstance(value.url, str)
            assert value.url
            told = slow_number(data.get("expireTime"))
            expires = None if told is None else START.replace(year=1970) + timedelta(milliseconds=int(told))
            expect("expireTime", expires, value.expires_at)
        case _:
            check_record(value, data)
            assert value.voice_id in (None, ID)


def without_halves(value: Any) -> Any:
    """Return a value with U+FFFD for each half of a surrogate pair."""
    match value:
        case str():
            return "".join("\ufffd" if 0xD800 <= ord(mark) < 0xE000 else mark for mark in value)
        case list():
            return list(map(without_halves, value))
        case dict():
            return {name: without_halves(item) for name, item in value.items()}
        case _:
            return value


def held(kind: Callable[[str], object]) -> Callable[[str], object]:
    """Return what makes a number of its digits; they stay text if it cannot hold them."""

    def hold(digits: str) -> object:
        try:
            return kind(digits)
        except (ValueError, InvalidOperation):
            return digits + " is too much"

    return hold


def refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have."""
    message = f"{constant} was read"
    raise MisreadError(message)


def use(value: Any) -> None:
    """Do with a value what a program does."""
    for one in value.records if isinstance(value, Page) else (value,):
        expect("its pickle", one, pickle.loads(pickle.dumps(one)))  # noqa: S301 -- it is our own
        expect("its copy", one, copy.copy(one))
        expect("its deep copy", one, copy.deepcopy(one))
        expect("its hash", hash(one), hash(copy.copy(one)))
        assert len(repr(one)) > 10
        if isinstance(one, CallRecord):
            assert json.loads(json.dumps(one.to_dict())).keys() == {field.name for field in attrs.fields(type(one))}
            assert json.dumps(one.to_dict(), ensure_ascii=False).encode()
            assert page_keys([one], set()).distinct == page_keys([copy.copy(one)], set()).distinct
            assert one.billing is None or one.billing.initial >= 0
            assert one.answered is (one.answer_time is not None)
        if isinstance(one, VoiceRecord):
            assert one.pressed_key != "-1"


def complaints(body: bytes) -> list[str]:
    """Return what is wrong with how an answer is read; empty where each reader gives a right value or refuses."""
    found = []
    for name, read in READERS.items():
        try:
            value = read(body)
            check(body, value)
            use(value)
        except ItnioError as error:
            if len(str(error)) > LONGEST_MESSAGE:
                found.append(f"{name}: {len(str(error))} characters of error: {error!s:.200}")
        except Exception as error:  # noqa: BLE001 -- no other may come out
            found.append(f"{name}: {type(error).__name__}: {error!s:.300}")
    return found


def is_read(body: bytes) -> bool:
    """Tell whether some reader gives a value."""
    for read in READERS.values():
        try:
            read(body)
        except ItnioError:
            continue
        return True
    return False


# Where inputs come from. A tree is an answer whose leaves are JSON text, so that a leaf may be what JSON cannot hold.

VOICE = {
    "voiceId": f'"{ID}"',
    "callee": '"91856321412"',
    "displayNum": "1008122211",
    "code": '"Afghanistan(Kandahar)"',
    "submitTime": '"2022-01-18T14:42:40+08:00"',
    "callTime": '"2022-01-18T06:42:47.125Z"',
    "ringingTime": "null",
    "answerTime": '""',
    "hangupTime": '"2022-01-18 14:42:55-03:30"',
    "callDuration": "5",
    "chargedDuration": '"60"',
    "terminationCode": "200",
    "terminationReason": '"success"',
    "cost": '"2"',
    "billPeriod": '"20+20"',
    "rate": "1.20",
    "baseCost": "0.10",
    "voiceFileId": '"12022022570cc2484c59d4f8b9745d34226285b1e.mp3"',
    "feedbackValue": "-1",
    "calledInfo": '"caf\u00e9 \\ud83d\\ude00"',
    "settleRate": '""',
    "quoteExchange": "null",
    "currency": '"EUR"',
    "settlePay": '"-1.2793"',
}
SIP = {name: value for name, value in VOICE.items() if name not in ("baseCost", "voiceFileId", "calledInfo")} | {
    "sipGroupName": '"a group"',
    "phoneName": "7",
    "recordingFileId": '"5f"',
    "orders": ["1.50", {"deep": ["null", "true"]}],
}
TREES: tuple[Any, ...] = (
    {
        "status": '"0"',
        "reason": '"success"',
        "data": {"total": "2", "size": "20", "current": "1", "pages": "1", "records": [VOICE, {"voiceId": "7"}]},
    },
    {"status": "0", "data": {"total": '"1"', "size": "null", "searchCount": "true", "records": [SIP]}},
    {"status": "0", "data": {"total": "41", "current": '"1"', "pages": '""', "records": "null"}},
    {"data": VOICE, "status": '"0"', "reason": "null"},
    {"status": "0", "data": SIP},
    {"status": '"0"', "data": {"url": '"https://x/5f.mp3"', "expireTime": "1755679164264"}},
    {"status": '"-25"', "reason": '"Out of time range"', "data": "null"},
    {"status": "-18", "reason": '"Port program unusual"'},
)

DEEP = 100_000
TIMES_LIKE = (
    "0000-00-00",
    "2022-02-30T00:00:00+08:00",
    "2022-01-18T14:42:40+99:99",
    "2022-01-18T14:42:40+08:99",
    "2022-01-18T14:42:40+0860",
    "2022-W03",
    "2022-W03-1T00:00:00+08:00",
    "2022W031T000000Z",
    "2022-018T00:00:00+08:00",
    "2022-01-18T14:42:40",
    "2022-01-18",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T24:00:00+00:00",
    "2022-01-18T24:00:00+08:00",
    "2022-01-18T14:42:60+08:00",
    "2022-01-18T14:42+08:00",
    "2022-01-18T14+08",
    "2022-01-18T14:42:40-00:00",
    "2022-01-18T14:42:40+23:59:59",
    "2022-01-18T14:42:40+08:00:00.5",
    "2022-01-18T14:42:40.1234567+08:00",
    "2022-01-18T14:42:40.123456789x+08:00",
    "2022-01-18T14:42:40,5+08:00",
    "2022-01-18x14:42:40+08:00",
    "2022-01-18T14:42:40 +08:00",
    "2022-01-18T14:42:40+08:00\\u0000",
    "2022-01-18T14:42:40\\u0000+08:00",
    "２022-01-18T14:42:40+08:00",
    "20220118T144240+0800",
    "20220118T144240.12345+08:00",
    "18/01/2022 14:42:40 +08:00",
    "1642488160",
)
NUMBERS_LIKE = (
    *("0", "-0", "-0.0", "1e999999999", "1e999999999999999999999", "-1E+5", "1e-999999999", "0e-9999999999999999999"),
    *("0E+999999999", "1" * 4300, "9" * 5000, "1." + "0" * 5000, "0." + "0" * 5000 + "1", "1.50", "0.10", "1E400"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" + "0" * 19),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "sNaN",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1_000",
        "１２",
        "1,5",
        " 2 ",
        "1\\u0000",
    ),
    *("4", "2.0", "5e0", "60", "-1", "253402300800000", "-62135596800001", "1e15", "\\u00a01", "20+20", "9" * 9 + "+1"),
)
ODD = (
    *NUMBERS_LIKE,
    *(f'"{text}"' for text in (*NUMBERS_LIKE, *TIMES_LIKE)),
    *(
        "null",
        "true",
        "false",
        '""',
        '" "',
        "[]",
        "{}",
        "[null]",
        '{"a":1}',
        '"0"',
        '"-25"',
        f'"{ID}"',
        f'"\\u0000{ID}"',
    ),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"a\\nb"', '"' + "x" * 5000 + '"', '"\\"'),
    *("[" * 40 + "]" * 40, "[" * 900 + "]" * 900, '{"a":' * 300 + "1" + "}" * 300, '[{"a":' * 480 + "9" * 5000),
    *('1,"cost":"2"', '1,"voiceId":"8"', '1,"records":[]', '{"voiceId":[1]}', '[{"cost":1.5},5]', "'x'", "undefined"),
)
TOKENS = (
    *(token.encode() for token in ODD),
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"0", b"e", b"-", b".", b"+", b'"status":', b"/**/"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80", b"\x00", b"\r\n\t ", b"\x1f", b"\x0b"),
)
LONG = (b"[" * DEEP, b'{"a":' * DEEP, b"]" * DEEP, b" " * DEEP, b"9" * DEEP, b"\x00" * DEEP, b"\xff" * DEEP)


def render(tree: Any) -> str:
    """Return a tree as JSON text."""
    match tree:
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{render(value)}" for name, value in tree.items()) + "}"
        case list():
            return "[" + ",".join(map(render, tree)) + "]"
        case _:
            return str(tree)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """List each value of a tree, as what holds it and its name there."""
    names = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for name in names:
        yield tree, name
        yield from places(tree[name])


def with_odd_values(chance: random.Random) -> bytes:
    """Draw an answer of which some values or names are not what they should be."""
    tree = copy.deepcopy(chance.choice(TREES))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        holder, name = chance.choice(list(places(tree)))
        other, known = chance.choice(list(places(tree)))
        match chance.choice(["odd", "odd", "odd", "odd", "like", "drop", "rename", "add", "swap", "double"]):
            case "odd":
                holder[name] = chance.choice(ODD)
            case "like" if isinstance(name, str):
                likes = TIMES_LIKE if name.endswith("Time") else NUMBERS_LIKE
                holder[name] = f'"{chance.choice(likes)}"'
            case "drop":
                del holder[name]
            case "rename" if isinstance(name, str):
                holder[chance.choice(["", "extra", "voice_id", "\x00", name.upper(), str(known)])] = holder.pop(name)
            case "add" if isinstance(name, str):
                holder[str(known)] = chance.choice(ODD)
            case "swap":
                holder[name] = copy.deepcopy(other[known])
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[name]))
        if not tree:
            break
    return render(tree).encode()


def with_odd_bytes(chance: random.Random) -> bytes:
    """Draw an answer that was damaged on its way."""
    body = bytearray(with_odd_values(chance))
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.choice([1, 1, 2, 5, 100]))
        match chance.choice(["flip", "delete", "double", "splice", "token", "token", "digit", "mark", "long"]):
            case "flip" if at < len(body):
                body[at] ^= 1 << chance.randrange(8)
            case "delete":
                del body[at:to]
            case "double":
                body[at:at] = body[at:to]
            case "splice":
                other = render(chance.choice(TREES)).encode()
                body[at:] = other[chance.randrange(len(other)) :]
            case "token":
                body[at : chance.choice([at, to])] = chance.choice(TOKENS)
            case "digit" if digits := [place for place, byte in enumerate(body) if byte in b"0123456789"]:
                body[chance.choice(digits)] = chance.choice(b"0123456789-+:.eZ")
            case "mark":
                body[:0] = chance.choice([b"\xef\xbb\xbf", b"\xff\xfe", b" \n"])
            case "long" if chance.random() < 0.03:
                body[at:at] = chance.choice(LONG)
    return bytes(body)


def drawn(number: int) -> bytes:
    """Return the input of a number."""
    chance = random.Random(number)
    return chance.choice([with_odd_values, with_odd_values, with_odd_bytes])(chance)


def page_of(**leaves: str) -> bytes:
    """Return a page of one record of these leaves."""
    return render({"status": "0", "data": {"total": "1", "records": [leaves]}}).encode()


FOUND: dict[str, bytes] = {
    "an offset of 99 minutes was read as 9:39": page_of(submitTime='"2022-01-18T14:42:40+08:99"'),
    "what follows six digits of a fraction was read over": page_of(submitTime='"2022-01-18T14:42:40.123456789x+08:00"'),
    "NUL in a time was read over": page_of(submitTime='"2022-01-18T14:42:40\\u0000+08:00"'),
    "a third digit of minutes was read over": page_of(submitTime='"2022-01-18T14:420+08:00"'),
    "a third digit of seconds was read over": page_of(hangupTime='"2022-01-18 14:42:555-03:30"'),
    "a fraction without its point": page_of(submitTime='"2022-01-18T14424055+08:00"'),
    "all that follows six digits of seconds was read over": page_of(submitTime='"2022-01-18T144240123456 14:42+08:00"'),
    "a fraction of a minute was read as one of a second": page_of(submitTime='"2022-01-18T14:42.40+08:00"'),
    "half a second of offset without its seconds": page_of(submitTime='"2022-01-18T14:42:40+08:00.5"'),
    "a deep unknown field could not be told as JSON": page_of(x="[" * 500 + "]" * 500),
    "a number out of range, deep down, made a long error": page_of(x="[" * 900 + "9" * 5000 + "]" * 900),
    "another page's number made a long error": b'{"status":0,"data":{"records":[],"current":%s}}' % (b"1" * 4300),
}


@pytest.mark.parametrize("body", FOUND.values(), ids=FOUND.keys())
def test_what_was_found(body: bytes) -> None:
    """What was once misread, or broke with something else than our error, stays mended."""
    assert [] == complaints(body)


@pytest.mark.parametrize("place", ["reason", "records", "cost", "x", "data"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_every_depth(place: str, opening: str, closing: str) -> None:
    """However deep an answer is nested, up to the last depth that is read at all, neither it nor its use overflows."""
    for depth in (*range(0, 900, 60), *range(900, 1010)):
        deep = opening * depth + "1" + closing * depth
        body = {
            "reason": f'{{"status":1,"reason":{deep}}}',
            "records": f'{{"status":0,"data":{{"records":{deep}}}}}',
            "data": f'{{"status":0,"data":{deep}}}',
        }.get(place) or page_of(**{place: deep}).decode()

        assert [] == complaints(body.encode()), depth


def test_the_trees_are_read() -> None:
    """The answers that inputs are made from are themselves read, or refused by the vendor."""
    for tree in TREES[:-2]:
        assert is_read(render(tree).encode()), tree
    for tree in TREES:
        assert [] == complaints(render(tree).encode())


def test_drawn_answers() -> None:
    """Each input gives values that are right and can be used, or one of our errors with a short text."""
    failed = {}
    for number in range(FIRST, FIRST + INPUTS):
        if wrong := complaints(drawn(number)):
            failed[number] = wrong
            if len(failed) == 20:
                break

    assert {} == failed, "\n".join(
        f"ITNIO_FUZZ=1 ITNIO_FUZZ_FROM={number}: {wrong} from {drawn(number)[:3000]!r}"
        for number, wrong in failed.items()
    )


HOOKS: tuple[tuple[Callable[[Any], object], Rule, tuple[str, ...]], ...] = (
    (timestamp, expect_time, (*TIMES_LIKE, "2022-01-18T14:42:40+08:00", "2022-01-18 14:42:55.125Z")),
    (amount, expect_number, NUMBERS_LIKE),
    (integer, expect_count, NUMBERS_LIKE),
)


def drawn_text(chance: random.Random, likes: tuple[str, ...]) -> str:
    """Draw text that is nearly a time or a number."""
    text = chance.choice(likes)[:40]
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(text) + 1)
        piece = chance.choice(["", *"0123456789", *"-+:.,TZWeE_ \0\n\tx٣", "00", ":00", "+08:00", text[-3:]])
        text = text[:at] + piece + text[at + chance.choice([0, 0, 1, 1, 2]) :]
    return text


@pytest.mark.parametrize(("hook", "rule", "likes"), HOOKS, ids=["times", "amounts", "whole numbers"])
def test_drawn_texts(hook: Callable[[Any], object], rule: Rule, likes: tuple[str, ...]) -> None:
    """Text that is nearly a time or a number is read rightly or refused."""
    failed = {}
    for number in range(FIRST, FIRST + INPUTS):
        text = drawn_text(random.Random(number), likes)
        try:
            rule("it", text, hook(text))
        except MisreadError as error:
            failed[number] = f"{error}, from {text!r}"
        except ValueError:
            continue

    assert {} == failed, "\n".join(f"ITNIO_FUZZ=1 ITNIO_FUZZ_FROM={number}: {it}" for number, it in failed.items())


def test_draws_are_varied() -> None:
    """Many inputs are read and many are refused, and a number always draws the same input."""
    bodies = [drawn(number) for number in range(400)]
    read = sum(map(is_read, bodies))

    assert 80 < read < 320
    assert bodies == [drawn(number) for number in range(400)]


LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=8)))).map(datetime.isoformat)
    | st.decimals().map(str)
)
NAMES = sorted({name for tree in TREES for _, name in places(tree) if isinstance(name, str)})
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner)
)
ROW = st.dictionaries(st.sampled_from(NAMES), LEAF)
SHAPED = (
    TREE
    | TREE.map(lambda data: {"status": "0", "data": data})
    | st.lists(ROW, max_size=3).map(lambda rows: {"status": 0, "data": {"records": rows}})
    | ROW.map(lambda row: {"status": 0, "data": row})
)


@settings(derandomize=True, database=None, max_examples=max(100, INPUTS // 20))
@given(st.binary(max_size=200) | SHAPED.map(lambda value: json.dumps(value).encode()))
def test_anything(body: bytes) -> None:
    """Random bytes and random JSON are read rightly or refused, too."""
    assert [] == complaints(body)


def filled(before: bytes, piece: bytes, after: bytes = b"") -> Callable[[int], bytes]:
    """Return what makes a body of about a size by repeating a piece."""
    return lambda size: before + piece * (size // len(piece)) + after


IN_RECORD = b'{"status":0,"data":{"records":[{"%s":'
SHAPES: dict[str, Callable[[int], bytes]] = {
    "brackets": filled(b"", b"["),
    "objects": filled(b'{"status":0,"data":', b'{"a":'),
    "space": filled(b'{"status":0,', b" ", b'"data":{"total":0}}'),
    "digits": filled(IN_RECORD % b"cost", b"9", b"}]}}"),
    "digits of a fraction": filled(IN_RECORD % b"cost" + b"0.", b"9", b"}]}}"),
    "digits as text": filled(IN_RECORD % b"cost" + b'"', b"9", b'"}]}}'),
    "digits of a count": filled(IN_RECORD % b"callDuration" + b'"1.', b"0", b'"}]}}'),
    "digits of an exponent": filled(IN_RECORD % b"callDuration" + b"1e", b"9", b"}]}}"),
    "large exponents": filled(b'{"status":0,"data":{"records":[', b'{"callDuration":1e999999999},', b"{}]}}"),
    "a long time": filled(IN_RECORD % b"callTime" + b'"2022-01-18T14:42:40.', b"5", b'+08:00"}]}}'),
    "a long billing period": filled(IN_RECORD % b"billPeriod" + b'"', b" ", b'20+20"}]}}'),
    "long text": filled(IN_RECORD % b"callee" + b'"', b"\\u0000", b'"}]}}'),
    "empty records": filled(b'{"status":0,"data":{"records":[', b"{},", b"{}]}}"),
    "rows that are none": filled(b'{"status":0,"data":{"records":[[', b"[],", b"[]]]}}"),
    "records that are none": filled(b'{"status":0,"data":{"records":{"x":[', b"[],", b"[]]}}}"),
    "one name": filled(b'{"status":0,"data":{', b'"records":[],', b'"total":0}}'),
    "an unknown list": filled(IN_RECORD % b"x" + b"[", b"0.5,", b"1]}]}}"),
    "a wrong value": filled(IN_RECORD % b"cost" + b"[", b"[1],", b"1]}]}}"),
    "a reason": filled(b'{"status":1,"reason":"', b"1", b'"}'),
    "a reason of lists": filled(b'{"status":1,"reason":[', b"[],", b"1]}"),
    "a status": filled(b'{"status":"', b"1", b'"}'),
    "a page of HTML": filled(b"<html>", b"<p>5 4 3</p>"),
    "letters": filled(b"", b"a"),
    "letters and two digits": filled(b"1b1", b"a"),
    "no UTF-8": filled(b'{"status":"0","x":"', b"\xff"),
}


def refused_shortly(body: bytes) -> None:
    """Read a body in each way, and forget what comes out."""
    for name in ("page of voice records", "phone record", "recording"):
        try:
            READERS[name](body)
        except ItnioError as error:
            assert len(str(error)) <= LONGEST_MESSAGE  # noqa: PT017


def memory(body: bytes) -> int:
    """Return how many bytes reading a body takes at most."""
    tracemalloc.start()
    try:
        refused_shortly(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_memory_is_linear(shape: Callable[[int], bytes]) -> None:
    """A body four times as long takes about four times the memory, and each of its bytes some hundred at most."""
    small, large = memory(shape(10_000)), memory(shape(40_000))

    assert large < 6 * small + 200_000
    assert large < 400 * 40_000


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_time_is_linear(shape: Callable[[int], bytes]) -> None:
    """A long body takes some hundredths of a second: with its square it would be minutes."""
    began = time.process_time()
    refused_shortly(shape(200_000))

    assert time.process_time() - began < 5


def test_the_slow_reading_is_strict() -> None:
    """The reading that values are compared with tells a value that is wrong."""
    body = render(TREES[0]).encode()
    page = read_page(body, REQUEST, VoiceRecord)
    first, second = page.records
    check(body, page)
    for name in (field.name for field in attrs.fields(VoiceRecord)):
        other: Any = {"x": 1} if name == "extra" else Decimal(77)
        wrong = attrs.evolve(first, **{name: other})
        with pytest.raises(MisreadError):
            check(body, attrs.evolve(page, records=(wrong, second)))
    for digits in ("2.0", "20"):
        with pytest.raises(MisreadError):
            check(body, attrs.evolve(page, records=(attrs.evolve(first, cost=Decimal(digits)), second)))
    wrong_ones: tuple[tuple[Rule, Any, Any], ...] = (
        (expect_time, "2022-01-18T14:42:40+08:99", datetime(2022, 1, 18, 14, 42, 40, tzinfo=UTC)),
        (expect_time, "2022-01-18T14:42:40+00:01", datetime(2022, 1, 18, 14, 42, 40, tzinfo=UTC)),
        (expect_number, True, Decimal(1)),
        (expect_number, "1_0", Decimal(10)),
        (expect_count, "5", Decimal(5)),
        (expect_count, "1", True),
        (expect_text, True, "True"),
        (expect_text, "", ""),
    )
    for rule, told, misread in wrong_ones:
        with pytest.raises(MisreadError):
            rule("it", told, misread)
    with pytest.raises(InvalidOperation):
        slow_number("1e9999999999999999999")
