"""Believable call records from a seed, in the vendor's wire format and in time order."""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate
from random import Random
from typing import Any, Literal

import attrs

from . import destinations
from .destinations import Destination, Outcome

__all__ = ["VENDOR_TIME", "Kind", "complete", "generate"]

Kind = Literal["group", "sip"]
"""Voice-message records, or phone (SIP) records."""

VENDOR_TIME = timezone(timedelta(hours=8))
"""The UTC offset of the vendor's times."""

_HOUR = 3600
_LONGEST_CALL = 3600
_FIRST_COUNTER = 1_000_000
_MONEY_DIGITS = 5
_MONEY = 10**_MONEY_DIGITS

_BURST_SHARE = 0.04
_LATE_CALL_TIME_SHARE = 0.03
_EARLY_HANGUP_SHARE = 0.03
_KEY_SHARE = 0.18
_NOTE_SHARE = 0.1

# Calls by hour of the day and by day of the week, from Monday, in the vendor's time: quiet nights, quieter weekends.
_BY_HOUR = (2, 1, 1, 1, 1, 2, 5, 14, 38, 72, 88, 80, 52, 62, 84, 90, 86, 74, 58, 44, 32, 20, 10, 4)
_BY_DAY = (1.0, 1.05, 1.05, 1.0, 0.95, 0.5, 0.3)

# The length of an answered call is log-normal: (mu, sigma) of seconds. Most are short, a few are very long.
_LENGTH: Mapping[Kind, tuple[float, float]] = {"group": (2.7, 0.75), "sip": (4.1, 1.15)}

_NOTES = ("appointment reminder", "order 20931: out for delivery", "Verifizierung für Müller", "验证码", '{"batch": 7}')
_SIP_GROUPS = ("sales", "support", "collections")
_ABSENT = ("", None, ...)
"""The ways in which a value is missing; an ellipsis stands for the field left out."""


@attrs.frozen
class _Context:
    """The values that all records of a data set have in common."""

    random: Random
    kind: Kind
    files: Sequence[str]
    numbers: Sequence[str]


@attrs.frozen
class _Call:
    """The stages of a call in Unix seconds; None for a stage that did not happen."""

    submitted: int
    called: int
    rang: int | None
    answered: int | None
    hung_up: int
    outcome: Outcome

    @property
    def seconds(self) -> int:
        return 0 if self.answered is None else self.hung_up - self.answered


def generate(
    count: int, *, start: datetime, end: datetime, seed: int, kind: Kind = "group", first: int = 1
) -> Iterator[dict[str, Any]]:
    """Yield `count` records submitted in `[start, end)`, oldest first, as the JSON objects of the wire.

    The same arguments return the same records. `start` and `end` are aware and rounded down to seconds; `first` numbers
    the first record: data sets with different numbers have different `voiceId`s.

    Raises:
        ValueError: for a negative count, or an end before the start.
    """
    if count < 0 or end < start:
        message = f"a data set has 0 records or more and ends after it starts, not {count} from {start} to {end}"
        raise ValueError(message)
    random = Random(f"{kind}/{seed}")
    context = _Context(
        random=random,
        kind=kind,
        files=[f"{random.randrange(10**7, 10**8)}{random.getrandbits(128):032x}.mp3" for _ in range(12)],
        numbers=[f"1008{random.randrange(10**6):06}" for _ in range(8)],
    )
    seconds = _submit_seconds(count, int(start.timestamp()), int(end.timestamp()), random)
    return (_record(number, second, context) for number, second in enumerate(seconds, first))


def complete(partial: Mapping[str, Any], *, kind: Kind, number: int, now: float) -> dict[str, Any]:
    """Return a complete record with the given wire fields and, for the others, those of a short answered call.

    It was submitted at `now` (Unix seconds) if `submitTime` is not given. A field given as `...` is left out.
    """
    submitted = partial.get("submitTime")
    at = int(now) if submitted is None or submitted is ... else _seconds(submitted, int(now))
    random = Random(number)
    context = _Context(random, kind, files=["f.mp3"], numbers=["1008122211"])
    call = _Call(at, at + 1, at + 3, at + 6, at + 11, destinations.ANSWERED)
    fields = _fields(number, call, destinations.DESTINATIONS[0], context) | dict(partial)
    return {name: value for name, value in fields.items() if value is not ...}


def _seconds(text: object, otherwise: int) -> int:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return otherwise


def _submit_seconds(count: int, start: int, end: int, random: Random) -> Iterator[int]:
    """Yield the seconds that calls are submitted in, by the rhythm of day and week, sometimes several at once."""
    hours = range(start, max(end, start + 1), _HOUR)
    lengths = [min(_HOUR, max(end, start + 1) - hour) for hour in hours]
    shares = list(accumulate(_weight(hour) * length for hour, length in zip(hours, lengths, strict=True)))
    done = 0
    for hour, length, share in zip(hours, lengths, shares, strict=True):
        due = round(count * share / shares[-1])
        offsets = sorted(random.choices(range(length), k=due - done))
        done = due
        for index in range(1, len(offsets)):
            if random.random() < _BURST_SHARE:
                offsets[index] = offsets[index - 1]
        yield from (hour + offset for offset in offsets)


def _weight(second: int) -> float:
    local = datetime.fromtimestamp(second, VENDOR_TIME)
    return _BY_HOUR[local.hour] * _BY_DAY[local.weekday()]


def _record(number: int, second: int, context: _Context) -> dict[str, Any]:
    random = context.random
    destination = destinations.DESTINATIONS[bisect(destinations.TRAFFIC, random.random() * destinations.TRAFFIC[-1])]
    record = _fields(number, _call(second, destination, context), destination, context)
    absent = _ABSENT[int(random.random() * len(_ABSENT))]
    if absent is ...:
        return {name: value for name, value in record.items() if value is not None}
    return {name: absent if value is None else value for name, value in record.items()}


def _call(submitted: int, destination: Destination, context: _Context) -> _Call:
    random = context.random
    called = submitted + int(random.random() * 3)
    rang = called + 1 + int(random.expovariate(0.5))
    if random.random() < destination.answer_seizure_ratio:
        answered = rang + 1 + int(random.expovariate(1 / destination.ring_seconds))
        mu, sigma = _LENGTH[context.kind]
        # Some callees hang up at once: an answered call of zero seconds costs nothing.
        immediate = random.random() < _EARLY_HANGUP_SHARE
        length = 0 if immediate else min(1 + int(random.lognormvariate(mu, sigma)), _LONGEST_CALL)
        if random.random() < _LATE_CALL_TIME_SHARE:
            # As in the vendor's own example, where the call is placed minutes after it was answered.
            called = answered + 1 + int(random.random() * 180)
        return _Call(submitted, called, rang, answered, answered + length, destinations.ANSWERED)
    failure = destinations.FAILURES[bisect(destinations.FAILURE_SHARES, random.random())]
    shortest, longest = failure.ring_seconds
    hung_up = rang + shortest + int(random.random() * (longest - shortest + 1))
    return _Call(submitted, called, rang if longest else None, None, hung_up, failure)


def _fields(number: int, call: _Call, destination: Destination, context: _Context) -> dict[str, Any]:
    """Return a record with the fields of its kind; None for a field that it does not have."""
    random = context.random
    submitted = _iso(call.submitted)
    charged = destination.charged(call.seconds)
    base = destination.base_cost if context.kind == "group" and charged else 0
    cost = destination.per_second * charged + base
    subscriber = int(random.random() * 10**destination.digits)
    head: dict[str, Any] = {
        "callee": f"{destination.prefix}{subscriber:0{destination.digits}}",
        "displayNum": context.numbers[int(random.random() * len(context.numbers))],
        "code": destination.code,
        "submitTime": submitted,
        "callTime": _iso(call.called),
        "ringingTime": None if call.rang is None else _iso(call.rang),
        "answerTime": None if call.answered is None else _iso(call.answered),
        "hangupTime": _iso(call.hung_up),
        "callDuration": call.seconds,
        "chargedDuration": charged,
        "terminationCode": call.outcome.code,
        "terminationReason": call.outcome.reason,
        "cost": _amount(cost),
        "billPeriod": destination.bill_period,
        "rate": _amount(destination.per_second * 60),
    }
    moment = submitted[2:19].translate(_DIGITS_ONLY)
    voice_id = f"{moment}{_FIRST_COUNTER + number}"
    answered = call.answered is not None
    local = _local_currency(destination, cost, call.submitted)
    if context.kind == "sip":
        group = _SIP_GROUPS[int(random.random() * len(_SIP_GROUPS))]
        phone = f"{group}-{int(random.random() * 6) + 1:02}"
        recording = f"{moment}{random.getrandbits(96):024x}.wav" if answered else None
        return {
            "voiceId": voice_id,
            "sipGroupName": group,
            "phoneName": phone,
            **head,
            "recordingFileId": recording,
        } | local
    pressed = answered and random.random() < _KEY_SHARE
    extra: dict[str, Any] = {
        "baseCost": _amount(base),
        "voiceFileId": context.files[int(random.random() * len(context.files))],
        "feedbackValue": str(int(random.random() * 10)) if pressed else "-1",
        "calledInfo": _NOTES[int(random.random() * len(_NOTES))] if random.random() < _NOTE_SHARE else None,
    }
    return {"voiceId": voice_id, **head, **extra, **local}


_DIGITS_ONLY = {ord(mark): None for mark in "-T:"}
_NO_LOCAL_CURRENCY: dict[str, Any] = {"settleRate": None, "quoteExchange": None, "settlePay": None, "currency": None}


def _local_currency(destination: Destination, cost: int, second: int) -> dict[str, Any]:
    """Return the fields that are filled only where the quotation is not in USD."""
    if destination.currency == "USD":
        return _NO_LOCAL_CURRENCY
    # The day's exchange rate, in thousandths: it drifts by a cent or two.
    exchange = 938 + second // 86400 * 7 % 31 - 15
    return {
        "settleRate": _amount(_divide(destination.per_second * 60 * 1000, exchange)),
        "quoteExchange": f"0.{exchange}",
        "settlePay": _amount(_divide(cost * 1000, exchange)),
        "currency": destination.currency,
    }


def _divide(dividend: int, divisor: int) -> int:
    """Divide, rounding half up, as amounts are rounded."""
    return (2 * dividend + divisor) // (2 * divisor)


def _amount(hundred_thousandths: int) -> str:
    """Return an amount as decimal text without trailing zeros: exact, since it is an integer count of 0.00001."""
    whole, part = divmod(hundred_thousandths, _MONEY)
    return f"{whole}.{part:0{_MONEY_DIGITS}}".rstrip("0").rstrip(".")


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, VENDOR_TIME).isoformat()


def default_start(end: datetime) -> datetime:
    """Return where a data set up to `end` starts by default: 60 days before, inside the two months that are kept."""
    return end - timedelta(days=60)


def default_end(now: float) -> datetime:
    """Return where a data set ends by default: the whole second before `now`, in UTC."""
    return datetime.fromtimestamp(int(now), UTC)
