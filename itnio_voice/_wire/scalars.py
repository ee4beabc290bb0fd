"""The values of fields: JSON to text, amounts, integers, booleans and times.

JSON has no dates and no exact decimals, and the API sends either "" or null for a missing value. Each function here is
the hook for one type of field: it returns the value of the field, or raises a ValueError that says what is expected.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

import attrs
import msgspec

__all__ = [
    "INLINE",
    "INLINE_STRICT",
    "LARGEST_COUNT",
    "LARGEST_EXPONENT",
    "SHORT_TIME",
    "Oversized",
    "amount",
    "boolean",
    "brief",
    "floating",
    "integer",
    "known_amounts",
    "milliseconds",
    "non_negative_int",
    "number",
    "opaque_json",
    "required",
    "text",
    "timestamp",
    "timestamps",
    "whole_number",
]

H = TypeVar("H", bound=Callable[..., Any])

LARGEST_EXPONENT = 40
"""The largest exponent, positive or negative, of the first digit of an amount.

`1e100000000` has eleven characters, but takes a gigabyte as an integer or as plain digits. With this limit, an amount
has about as many digits as the characters that were sent. Money needs less: a column of 38 digits has 18 decimals.
"""

LARGEST_COUNT = 10**12
"""The largest number that is accepted as a count: more than the records of any account."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS = {"true": True, "false": False}
_LONGEST_INTEGER = 18
_TOO_LARGE = 10 ** (_LONGEST_INTEGER + 1)
_LARGEST_SHORT = 2**63 - 1
"""The largest integer that msgspec can compare with."""
_SHORT_INTEGER = Annotated[int, msgspec.Meta(ge=-_LARGEST_SHORT, le=_LARGEST_SHORT)] | None
_NO_NUMBER = Decimal("NaN")
_LONGEST_KNOWN, _MOST_KNOWN = 24, 10_000
_DEEPEST = 32

# fromisoformat reads +08:99 as +09:39, and ignores extra characters before the offset. So the text must have seconds
# and one of these offsets in the usual place, which is checked fast, or match _TIME completely.
_OFFSETS = frozenset(f"{sign}{hour:02}:{minute:02}" for sign in "+-" for hour in range(24) for minute in range(60))
_TIME = re.compile(
    r"[-0-9W]{7,10}[T ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)? ?(?:Z|[+-][0-9]{2}(?::?[0-5][0-9]){0,2})"
)

INLINE: dict[Callable[..., Any], str] = {}
"""For some hooks, an expression that converts the most common values without a call of the hook.

The value is written as `{}`, once. For other values the expression calls the hook, under the name `read`, so both have
the same result.
"""
INLINE_STRICT: dict[Callable[..., Any], tuple[Any, str]] = {}
"""For the same hooks, the type of the values that most servers send, and an expression for a value of this type."""


def _inline(expression: str, *, strict: tuple[Any, str]) -> Callable[[H], H]:
    """Return a decorator that registers a hook in `INLINE` and `INLINE_STRICT`."""

    def register(hook: H) -> H:
        INLINE[hook], INLINE_STRICT[hook] = expression, strict
        return hook

    return register


_LARGEST_SHOWN = 10_000
"""The maximum size, in bits, of an integer that is shown: Python writes one of a few thousand digits at most."""


class _Brief(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return (
            super().repr_int(x, level) if x.bit_length() <= _LARGEST_SHOWN else f"an integer of {x.bit_length():,} bits"
        )


_brief = _Brief()
_brief.maxlevel = 2
_brief.maxstring = _brief.maxother = 80


def brief(value: Any) -> str:
    """Return a short text for a value in an error message, for a value of any size or depth."""
    return f"{_brief.repr(value):.80}"


@attrs.frozen(eq=False, repr=False)
class Oversized:
    """A JSON number that neither a `Decimal` nor an `int` can hold. Every field refuses it."""

    digits: str

    def __repr__(self) -> str:
        return self.digits

    def __sizeof__(self) -> int:
        """Return the size including the digits: errors limit the size of their values by it."""
        return super().__sizeof__() + len(self.digits)


def number(digits: str) -> Decimal | Oversized:
    """Return the digits of a JSON number as a `Decimal`."""
    try:
        value = Decimal(digits)
    except InvalidOperation:
        value = _NO_NUMBER
    return value if value.is_finite() else Oversized(digits)


def whole_number(digits: str) -> int | Oversized:
    """Return the digits of a whole JSON number as an `int`; Python accepts a few thousand digits at most."""
    try:
        return int(digits)
    except ValueError:
        return Oversized(digits)


@_inline(
    "(value or None) if (value := {}).__class__ is str or value is None else read(value, None)",
    strict=(str | None, "{} or None"),
)
def text(value: Any, _: Any = None) -> str | None:
    """Return text unchanged, and a number as its digits; None for "" and null."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    message = "text is expected"
    raise ValueError(message)


@_inline(
    "known_amounts[value] if (value := {}).__class__ is str else None if value is None else read(value, None)",
    strict=(str | None, "known_amounts[value] if (value := {}) else None"),
)
def amount(value: Any, _: Any = None) -> Decimal | None:
    """Return money or a rate, exactly as its digits say; None for "" and null."""
    if not isinstance(value, str | int | Decimal | None) or isinstance(value, bool):
        message = 'a number as text, such as "0.15", is expected: a float is not exact'
        raise ValueError(message)  # noqa: TRY004 -- a wrong value like any other
    digits = value if type(value) is str else text(value)
    if not digits:
        return None
    exact = number(digits)
    # Decimal also accepts "1_000" and the digits of other scripts; neither is an amount.
    if isinstance(exact, Oversized) or "_" in digits or not digits.isascii():
        message = "an amount such as 0.15 is expected"
        raise ValueError(message)
    if abs(exact.adjusted()) > LARGEST_EXPONENT:
        message = f"an amount with an exponent from -{LARGEST_EXPONENT} to {LARGEST_EXPONENT} is expected"
        raise ValueError(message)
    return exact


class _KnownAmounts(dict[str, Decimal | None]):
    """Amounts by their text. Rates and costs repeat, so most texts are known, and records share their `Decimal`s."""

    def __missing__(self, digits: str) -> Decimal | None:
        exact = amount(digits)
        if len(digits) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[digits] = exact
        return exact


known_amounts = _KnownAmounts()
"""The amounts of recent records, and None for ""."""


@_inline(
    "value if (value := {}) is None or (value.__class__ is int and "
    f"{-_TOO_LARGE} < value < {_TOO_LARGE}) else read(value, None)",
    strict=(_SHORT_INTEGER, "{}"),
)
def integer(value: Any, _: Any = None) -> int | None:
    """Return a whole number, also from text; None for "" and null."""
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
    """Return a float unchanged, and the binary number nearest to an amount; None for "" and null."""
    if isinstance(value, float):
        return value
    exact = amount(value)
    return None if exact is None else float(exact)


def timestamp(value: Any, _: Any = None) -> datetime | None:
    """Return an aware datetime with the offset that was sent; None for "" and null."""
    if value is None or value == "":
        return None
    with suppress(AttributeError, ValueError):
        digits = value.upper()  # RFC 3339 also allows t and z
        at = datetime.fromisoformat(digits)
        if (digits[19:] in _OFFSETS and digits[16] == ":") or _TIME.fullmatch(digits):
            return at
    message = "a time with an offset such as 2022-01-18T14:42:40+08:00 is expected"
    raise ValueError(message)


SHORT_TIME = Annotated[str, msgspec.Meta(max_length=27)] | None
"""Text that is too short for a seventh digit behind the seconds' point, which msgspec rounds and `timestamp` cuts."""


class _Times(msgspec.Struct, array_like=True, gc=False):
    """Columns of RFC 3339 times. What msgspec knows of a struct is kept, what it knows of another type is not."""

    columns: list[list[Annotated[datetime, msgspec.Meta(tz=True)] | None]]


def timestamps(columns: Iterable[Sequence[str | None]], *, are_short: bool) -> list[list[datetime | None]]:
    """Return the times of columns of texts, as `timestamp` reads each of them, but all at once.

    `are_short`: each text is known to be a `SHORT_TIME`.

    Raises:
        ValueError: if one of them is no time.
    """
    texts = [[text or None for text in column] if "" in column else column for column in columns]
    try:
        if not are_short:
            msgspec.convert(texts, list[list[SHORT_TIME]])
        return msgspec.convert((texts,), _Times).columns
    except msgspec.ValidationError:  # for example milliseconds, or a time without seconds
        return [list(map(timestamp, column)) for column in texts]


def milliseconds(value: Any, _: Any = None) -> datetime | None:
    """Return the UTC time for a number of milliseconds since 1970; None for "" and null."""
    count = integer(value)
    try:
        return None if count is None else _EPOCH + timedelta(milliseconds=count)
    except OverflowError:
        message = "Unix milliseconds are expected"
        raise ValueError(message) from None


def non_negative_int(value: Any, _: Any = None) -> int | None:
    """Return a count, also from text; None for "" and null."""
    try:
        count = integer(value)
    except ValueError:
        count = -1
    if count is not None and not 0 <= count <= LARGEST_COUNT:
        message = f"a whole number from 0 to {LARGEST_COUNT} is expected"
        raise ValueError(message)
    return count


def required(value: Any, _: Any = None) -> str:
    """Return text that must not be missing or empty."""
    if not isinstance(value, str) or not value:
        message = "text is expected"
        raise ValueError(message)
    return value


_NOT_PLAIN = (dict, list, Oversized)


def opaque_json(value: Any, _: Any = None, room: int = _DEEPEST) -> Any:
    """Return a value of an unknown field unchanged. Its depth is limited, so that it can be copied and pickled."""
    if isinstance(value, _NOT_PLAIN):  # most values are none of these: one check is enough
        if isinstance(value, Oversized):
            message = "a number that a Decimal can hold is expected"
            raise ValueError(message)  # noqa: TRY004 -- a wrong value like any other
        if not room:
            message = f"a value of at most {_DEEPEST} levels is expected"
            raise ValueError(message)
        for item in value.values() if isinstance(value, dict) else value:
            opaque_json(item, None, room - 1)
    return value
