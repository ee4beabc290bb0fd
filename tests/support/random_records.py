"""Random records, from a seed: any value that a field may have."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from types import NoneType
from typing import Any, TypeVar, get_args

import attrs

from itnio_voice import CallRecord

C = TypeVar("C", bound=CallRecord)

EDGE_TEXTS = ["", " ", "0", "null", "é", "\u202e", "\x00\x1b[0m", "😀", '"\\/', "=1+1", "x" * 1000]
CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x110000, 97))]
"""Characters of every script, without the halves of surrogate pairs, which JSON cannot hold."""


def random_text(random: Random) -> str:
    """Return an edge case, or some characters of any script."""
    if random.random() < 0.3:
        return random.choice(EDGE_TEXTS)
    return "".join(random.choice(CHARACTERS) for _ in range(random.randrange(9)))


def random_amount(random: Random) -> Decimal:
    """Return an amount with up to 30 digits, trailing zeros, any sign, also of zero, and an exponent within limits."""
    digits = "0" if random.random() < 0.1 else str(random.randrange(1, 10 ** random.randrange(1, 30)))
    adjusted = random.randrange(-40, 41)
    return Decimal(f"{random.choice(['', '-'])}{digits}E{adjusted - len(digits) + 1}")


def random_time(random: Random) -> datetime:
    """Return a time with any offset of whole minutes, with or without microseconds."""
    at = datetime(1, 1, 3, tzinfo=UTC) + timedelta(seconds=random.randrange(9_998 * 365 * 86_400))
    offset = timezone(timedelta(minutes=random.randrange(-1439, 1440)))
    return at.replace(microsecond=random.choice([0, random.randrange(10**6)])).astimezone(offset)


def random_json(random: Random, depth: int = 3) -> Any:
    """Return a JSON value."""
    kind = random.randrange(8 if depth else 6)
    if kind == 6:
        return [random_json(random, depth - 1) for _ in range(random.randrange(3))]
    if kind == 7:
        return {random_text(random): random_json(random, depth - 1) for _ in range(random.randrange(3))}
    return [None, True, random.randrange(-(10**30), 10**30), random.random(), "", random_text(random)][kind]


VALUES: dict[Any, Callable[[Random], Any]] = {
    str: random_text,
    Decimal: random_amount,
    datetime: random_time,
    int: lambda random: random.randrange(-(10**18), 10**18),
    NoneType: lambda _: None,
}


def random_record(random: Random, of: type[C]) -> C:
    """Return a record whose fields have random values of their types."""
    names = {random_text(random) for _ in range(random.randrange(3))}
    values: dict[str, Any] = {"extra": {name: random_json(random) for name in sorted(names)}}
    for field in attrs.fields(of):
        if field.name != "extra":
            values[field.name] = VALUES[random.choice(get_args(field.type))](random)
    return of(**values)
