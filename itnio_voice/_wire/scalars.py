"""The values of fields: JSON to text, amounts, integers, booleans and times.

JSON has no dates and no exact decimals, and the API sends "" and null alike for what is missing. Each function here is
a hook of a type of field: it returns the value of the field, or raises a ValueError that says what is expected.
"""

import re
import reprlib
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import attrs

__all__ = [
    "INLINE",
    "LARGEST_COUNT",
    "LARGEST_EXPONENT",
    "Oversized",
    "amount",
    "boolean",
    "brief",
    "floating",
    "integer",
    "milliseconds",
    "non_negative_int",
    "number",
    "opaque_json",
    "plain_instants",
    "required",
    "text",
    "timestamp",
    "whole_number",
    "written_alike",
]

H = TypeVar("H", bound=Callable[..., Any])

LARGEST_EXPONENT = 40
"""The largest power of ten, up or down, that the first digit of an amount may stand for.

`1e100000000` is eleven characters, and a gigabyte as an integer or as plain digits. With this bound, the digits of an
amount are about as many as the characters that were sent. Money needs less: a column of 38 digits has 18 decimals.
"""

LARGEST_COUNT = 10**12
"""The largest number of things that is believed: more than records that an account can have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS = {"true": True, "false": False}
_LONGEST_INTEGER = 18
_TOO_LARGE = 10 ** (_LONGEST_INTEGER + 1)
_NO_NUMBER = Decimal("NaN")
_DEEPEST = 32

_read_time = datetime.fromisoformat  # bound once: a record has five times
# It reads +08:99 as +09:39, and reads over what is too much before the offset. So there are seconds and one
# of these offsets where they should be, which is quick to see, or the whole text is as below.
_OFFSETS = frozenset(f"{sign}{hour:02}:{minute:02}" for sign in "+-" for hour in range(24) for minute in range(60))
_TIME = re.compile(
    r"[-0-9W]{7,10}[T ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)? ?(?:Z|[+-][0-9]{2}(?::?[0-5][0-9]){0,2})"
)

INLINE: dict[Callable[..., Any], str] = {}
"""For some hooks, an expression that reads the most common values without a call of the hook.

It reads the variable `value`. For other values it calls the hook, under the name `read`, so that both return the same.
"""


def _inline(expression: str) -> Callable[[H], H]:
    """Decorate a hook with the expression that reads its most common values."""

    def register(hook: H) -> H:
        INLINE[hook] = expression
        return hook

    return register


_brief = reprlib.Repr()
_brief.maxlevel = 2
_brief.maxstring = _brief.maxother = 80


def brief(value: Any) -> str:
    """Return a value as an error's text shows it: short, however large or deep it is."""
    return f"{_brief.repr(value):.80}"


@attrs.frozen(repr=False)
class Oversized:
    """A JSON number that neither a `Decimal` nor an `int` can hold. Every field refuses it."""

    digits: str

    def __repr__(self) -> str:
        return self.digits

    def __sizeof__(self) -> int:
        """Return the size with the digits, by which errors bound what they carry."""
        return super().__sizeof__() + len(self.digits)


def number(digits: str) -> Decimal | Oversized:
    """Return the digits of a JSON number as a `Decimal`."""
    try:
        value = Decimal(digits)
    except InvalidOperation:
        value = _NO_NUMBER
    return value if value.is_finite() else Oversized(digits)


def whole_number(digits: str) -> int | Oversized:
    """Return the digits of a whole JSON number as an `int`; Python reads some thousand at most."""
    try:
        return int(digits)
    except ValueError:
        return Oversized(digits)


@_inline("(value or None) if value.__class__ is str or value is None else read(value, None)")
def text(value: Any, _: Any = None) -> str | None:
    """Return text as it came, a number as its digits; None for "" and null."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    message = "text is expected"
    raise ValueError(message)


@_inline(
    "None if not value and (value is None or value == '')"
    " else exact if value.__class__ is str and (exact := Decimal(value)).is_finite()"
    f" and {-LARGEST_EXPONENT} <= exact.adjusted() <= {LARGEST_EXPONENT}"
    " and '_' not in value and value.isascii() else read(value, None)"
)
def amount(value: Any, _: Any = None) -> Decimal | None:
    """Return money or a rate, exactly as its digits read; None for "" and null."""
    digits = value if type(value) is str else text(value)
    if not digits:
        return None
    exact = number(digits)
    # Decimal also reads "1_000" and the digits of other scripts; neither is an amount.
    if isinstance(exact, Oversized) or "_" in digits or not digits.isascii():
        message = "an amount such as 0.15 is expected"
        raise ValueError(message)
    if abs(exact.adjusted()) > LARGEST_EXPONENT:
        message = f"an amount with an exponent from -{LARGEST_EXPONENT} to {LARGEST_EXPONENT} is expected"
        raise ValueError(message)
    return exact


@_inline(
    f"value if value is None or (value.__class__ is int and {-_TOO_LARGE} < value < {_TOO_LARGE})"
    " else read(value, None)"
)
def integer(value: Any, _: Any = None) -> int | None:
    """Return a whole number, from its digits too; None for "" and null."""
    if value is None or (type(value) is int and abs(value) < _TOO_LARGE):
        return value
    exact = amount(value)
    if exact is None:
        return None
    if exact.adjusted() > _LONGEST_INTEGER or exact != exact.to_integral_value():
        message = "a whole number is expected"
        raise ValueError(message)
    return int(exact)


def boolean(value: Any, _: Any = None) -> bool | None:
    """Return a JSON boolean, also from the texts "true" and "false"; None for "" and null."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    message = "true or false is expected"
    raise ValueError(message)


def floating(value: Any, _: Any = None) -> float | None:
    """Return the binary number nearest to an amount; None for "" and null."""
    exact = amount(value)
    return None if exact is None else float(exact)


def timestamp(value: Any, _: Any = None) -> datetime | None:
    """Return an aware datetime in the offset that it came with; None for "" and null."""
    if value is None or value == "":
        return None
    try:
        at = _read_time(value)
    except (TypeError, ValueError):
        at = None
    if at is None or not ((value[19:] in _OFFSETS and value[16] == ":") or _TIME.fullmatch(value)):
        message = "a time with an offset such as 2022-01-18T14:42:40+08:00 is expected"
        raise ValueError(message)
    return at


def plain_instants(texts: Collection[str]) -> bool:
    """Tell whether all are times as the vendor's page writes them, of which `fromisoformat` alone makes an instant.

    They are looked at together, character by character: `2022-01-18T14:42:40+08:00` has its last colon at 22.
    """
    joined = "".join(texts)
    marks = ((16, ":"), (19, "+-"), (22, ":"), (23, "012345"))
    return {25}.issuperset(map(len, texts)) and not any(joined[at::25].strip(mark) for at, mark in marks)


def written_alike(texts: Sequence[str]) -> bool:
    """Return whether plain times are all the `isoformat` of their instants, with one offset: then they sort as text.

    A plain time may also have a space for the T, a week instead of a month, or the hour 24.
    """
    joined = "".join(texts)
    offset = joined[19:25]
    columns = ((4, "-"), (7, "-"), (10, "T"), (13, ":"))
    return (
        joined.count(offset) == len(texts)
        and offset != "-00:00"
        and "T24" not in joined
        and not any(joined[at::25].strip(mark) for at, mark in columns)
    )


def milliseconds(value: Any, _: Any = None) -> datetime | None:
    """Return the UTC time so many milliseconds after 1970; None for "" and null."""
    count = integer(value)
    try:
        return None if count is None else _EPOCH + timedelta(milliseconds=count)
    except OverflowError:
        message = "Unix milliseconds are expected"
        raise ValueError(message) from None


def non_negative_int(value: Any, _: Any = None) -> int | None:
    """Return a number of things, from its digits too; None for "" and null."""
    try:
        count = integer(value)
    except ValueError:
        count = -1
    if count is not None and not 0 <= count <= LARGEST_COUNT:
        message = f"a whole number from 0 to {LARGEST_COUNT} is expected"
        raise ValueError(message)
    return count


def required(value: Any, _: Any = None) -> str:
    """Return text that must be there."""
    if not isinstance(value, str) or not value:
        message = "text is expected"
        raise ValueError(message)
    return value


_NOT_PLAIN = (dict, list, Oversized)


def opaque_json(value: Any, _: Any = None, room: int = _DEEPEST) -> Any:
    """Return what no field names, as it came: JSON that is no deeper than a copy or a pickle of it can follow."""
    if isinstance(value, _NOT_PLAIN):  # one check for what is most common
        if isinstance(value, Oversized):
            message = "a number that a Decimal can hold is expected"
            raise ValueError(message)  # noqa: TRY004 -- a wrong value like any other
        if not room:
            message = f"a value of at most {_DEEPEST} levels is expected"
            raise ValueError(message)
        for item in value.values() if isinstance(value, dict) else value:
            opaque_json(item, None, room - 1)
    return value
