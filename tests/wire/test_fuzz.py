"""Damaged answers: each one is read correctly or raises one of our errors, at bounded cost.

Each input is drawn from its number alone. `ITNIO_FUZZ` sets the number of inputs, `ITNIO_FUZZ_FROM` the first one. An
input that failed is repeated by `ITNIO_FUZZ=1 ITNIO_FUZZ_FROM=<its number>`, and then added to `FOUND`.
"""

import copy
import json
import os
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnio_voice import ItnioError, Page, SipRecord, VoiceRecord, Window
from itnio_voice._model.records import CallRecord
from itnio_voice._walk.seen import page_keys
from itnio_voice._wire.pages import PageRequest
from itnio_voice._wire.responses import read_page, read_record, read_recording_url
from itnio_voice._wire.scalars import amount, integer, timestamp

from ..support.reference_reader import (
    MisreadError,
    Rule,
    check_answer,
    expect,
    expect_count,
    expect_number,
    expect_text,
    expect_time,
    reference_number,
)

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


def check(body: bytes, value: Any) -> None:
    """Compare a value with the answer that it was read from."""
    check_answer(body, value, REQUEST.size, ID)


def use(value: Any) -> None:
    """Use a value as a program does."""
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


def defects(body: bytes) -> list[str]:
    """Return the defects in reading an answer; empty if each reader returns a correct value or raises our error."""
    found = []
    for name, read in READERS.items():
        try:
            value = read(body)
            check(body, value)
            use(value)
        except ItnioError as error:
            if len(str(error)) > LONGEST_MESSAGE:
                found.append(f"{name}: {len(str(error))} characters of error: {error!s:.200}")
        except Exception as error:  # noqa: BLE001 -- any other error is a defect
            found.append(f"{name}: {type(error).__name__}: {error!s:.300}")
    return found


def is_read(body: bytes) -> bool:
    """Return whether any reader returns a value."""
    for read in READERS.values():
        try:
            read(body)
        except ItnioError:
            continue
        return True
    return False


# Inputs. A tree is an answer whose leaves are JSON text, so that a leaf may be invalid JSON.

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
    """List each value of a tree, as its container and its name there."""
    names = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for name in names:
        yield tree, name
        yield from places(tree[name])


def with_odd_values(chance: random.Random) -> bytes:
    """Draw an answer with some unexpected values or names."""
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
    """Draw an answer with damaged bytes."""
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
    "text after six digits of a fraction was ignored": page_of(submitTime='"2022-01-18T14:42:40.123456789x+08:00"'),
    "NUL in a time was read over": page_of(submitTime='"2022-01-18T14:42:40\\u0000+08:00"'),
    "a third digit of minutes was read over": page_of(submitTime='"2022-01-18T14:420+08:00"'),
    "a third digit of seconds was read over": page_of(hangupTime='"2022-01-18 14:42:555-03:30"'),
    "a fraction without its point": page_of(submitTime='"2022-01-18T14424055+08:00"'),
    "all that follows six digits of seconds was read over": page_of(submitTime='"2022-01-18T144240123456 14:42+08:00"'),
    "a fraction of a minute was read as one of a second": page_of(submitTime='"2022-01-18T14:42.40+08:00"'),
    "half a second of offset without its seconds": page_of(submitTime='"2022-01-18T14:42:40+08:00.5"'),
    "a deep unknown field could not be written as JSON": page_of(x="[" * 500 + "]" * 500),
    "a number out of range, deep down, made a long error": page_of(x="[" * 900 + "9" * 5000 + "]" * 900),
    "another page's number made a long error": b'{"status":0,"data":{"records":[],"current":%s}}' % (b"1" * 4300),
}


@pytest.mark.parametrize("body", FOUND.values(), ids=FOUND.keys())
def test_fixed_defects_stay_fixed(body: bytes) -> None:
    """Inputs that were once misread, or raised a foreign error, pass."""
    assert [] == defects(body)


@pytest.mark.parametrize("place", ["reason", "records", "cost", "x", "data"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_depth_of_nesting_overflows(place: str, opening: str, closing: str) -> None:
    """At any depth of nesting, up to the deepest one that is read, neither reading nor using an answer overflows."""
    for depth in (*range(0, 900, 60), *range(900, 1010)):
        deep = opening * depth + "1" + closing * depth
        body = {
            "reason": f'{{"status":1,"reason":{deep}}}',
            "records": f'{{"status":0,"data":{{"records":{deep}}}}}',
            "data": f'{{"status":0,"data":{deep}}}',
        }.get(place) or page_of(**{place: deep}).decode()

        assert [] == defects(body.encode()), depth


def test_the_trees_are_read() -> None:
    """The undamaged answers are read, or are refusals of the vendor."""
    for tree in TREES[:-2]:
        assert is_read(render(tree).encode()), tree
    for tree in TREES:
        assert [] == defects(render(tree).encode())


def test_drawn_answers_are_read_correctly_or_refused() -> None:
    """Each input returns correct, usable values, or raises one of our errors with a short text."""
    failed = {}
    for number in range(FIRST, FIRST + INPUTS):
        if wrong := defects(drawn(number)):
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
    """Draw a text similar to a time or a number."""
    text = chance.choice(likes)[:40]
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(text) + 1)
        piece = chance.choice(["", *"0123456789", *"-+:.,TZWeE_ \0\n\tx٣", "00", ":00", "+08:00", text[-3:]])
        text = text[:at] + piece + text[at + chance.choice([0, 0, 1, 1, 2]) :]
    return text


@pytest.mark.parametrize(("hook", "rule", "likes"), HOOKS, ids=["times", "amounts", "whole numbers"])
def test_drawn_texts_are_read_correctly_or_refused(
    hook: Callable[[Any], object], rule: Rule, likes: tuple[str, ...]
) -> None:
    """A text similar to a time or a number is read correctly or refused."""
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
def test_random_input_is_read_correctly_or_refused(body: bytes) -> None:
    """Random bytes and random JSON are read correctly or refused too."""
    assert [] == defects(body)


def filled(before: bytes, piece: bytes, after: bytes = b"") -> Callable[[int], bytes]:
    """Return a function that builds a body of about a size by repeating a piece."""
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
    "invalid rows": filled(b'{"status":0,"data":{"records":[[', b"[],", b"[]]]}}"),
    "invalid records": filled(b'{"status":0,"data":{"records":{"x":[', b"[],", b"[]]}}}"),
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


def read_and_drop(body: bytes) -> None:
    """Read a body in each way, and drop the result."""
    for name in ("page of voice records", "phone record", "recording"):
        try:
            READERS[name](body)
        except ItnioError as error:
            assert len(str(error)) <= LONGEST_MESSAGE  # noqa: PT017


def memory(body: bytes) -> int:
    """Return the peak memory of reading a body, in bytes."""
    tracemalloc.start()
    try:
        read_and_drop(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_memory_is_linear(shape: Callable[[int], bytes]) -> None:
    """A body four times as long takes about four times the memory, and at most a few hundred bytes per byte."""
    small, large = memory(shape(10_000)), memory(shape(40_000))

    assert large < 6 * small + 200_000
    assert large < 400 * 40_000


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_time_is_linear(shape: Callable[[int], bytes]) -> None:
    """A long body takes some hundredths of a second; quadratic time would take minutes."""
    began = time.process_time()
    read_and_drop(shape(200_000))

    assert time.process_time() - began < 5


def test_the_reference_reader_is_strict() -> None:
    """The reference reader detects wrong values."""
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
    for rule, value, misread in wrong_ones:
        with pytest.raises(MisreadError):
            rule("it", value, misread)
    with pytest.raises(InvalidOperation):
        reference_number("1e9999999999999999999")
