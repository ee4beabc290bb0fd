"""The switches of the sandbox: one for each point that the vendor's pages leave open, and for each fault."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, Self, get_args, get_type_hints

import attrs
import msgspec
from attrs import validators

__all__ = [
    "Appears",
    "Behaviour",
    "Endless",
    "Ends",
    "Fault",
    "FaultKind",
    "MissingRecord",
    "Order",
    "PastLast",
    "SelectsBy",
    "TimeOffset",
]

Ends = Literal["[)", "[]", "(]", "()"]
Order = Literal["ascending", "descending", "unstable", "heap", "by_id", "by_hash"]
SelectsBy = Literal["submit_time", "call_time", "hangup_time"]
PastLast = Literal["empty", "first", "first_silent"]
Endless = Literal["never", "uncounted", "counted"]
Sizes = Literal["any", "reduced", "raised", "refused"]
TimeOffset = Literal["honoured", "ignored"]
Appears = Literal["submitted", "finished"]
MissingRecord = Literal["null", "empty", "absent", "parameter"]
FaultKind = Literal[
    "status_500",
    "status_502",
    "status_503",
    "status_504",
    "status_429",
    "system_error",
    "timestamp_expired",
    "html",
    "empty",
    "truncated",
    "half_body",
    "drop",
    "hang",
    "drip",
    "surplus",
]

_LARGEST_PAGE = 100
_SLOWEST = 0.001
_PAGE_FIELDS = frozenset({"total", "size", "current", "pages", "records"})


_Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _one_of(choices: object) -> _Validator:
    return validators.in_(get_args(choices))


def _at_least(lowest: float, highest: float = math.inf) -> _Validator:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not isinstance(value, int | float) or not lowest <= value <= highest:
            up_to = "or more" if highest == math.inf else f"to {highest:g}"
            message = f"{attribute.name} is a number of {lowest:g} {up_to}, not {value!r}"
            raise ValueError(message)

    return check


def _longer_than_nothing(_: object, attribute: "attrs.Attribute[Any]", value: timedelta) -> None:
    if value <= timedelta():
        message = f"{attribute.name} must be positive, not {value!r}"
        raise ValueError(message)


def _page_fields(_: object, attribute: "attrs.Attribute[Any]", value: frozenset[str]) -> None:
    if value - _PAGE_FIELDS:
        message = f"{attribute.name} may name {sorted(_PAGE_FIELDS)}, not {sorted(value - _PAGE_FIELDS)}"
        raise ValueError(message)


def _names(values: Iterable[str]) -> frozenset[str]:
    # Text is an iterable of letters: without this, "total" would be five names.
    return frozenset([values] if isinstance(values, str) else values)


def _addresses(values: Collection[str] | None) -> frozenset[str] | None:
    return None if values is None else _names(values)


def _in_order(values: "Iterable[Fault]") -> "tuple[Fault, ...]":
    return tuple(values)


_share = _at_least(0, 1)
_not_negative = _at_least(0)
_optional = validators.optional
_span_or_none: _Validator = validators.optional(_longer_than_nothing)


@attrs.frozen
class Fault:
    """A fault of a request or of its answer.

    Kinds: `status_500`, `status_502`, `status_503`, `status_504`, `status_429` (that HTTP status with a web page),
    `system_error` (-18), `timestamp_expired` (-16), `html` (HTTP 200 with a web page), `empty` (HTTP 200 without a
    body), `truncated` (JSON cut short, with the right `Content-Length`), `half_body` (half of the body, then the
    connection ends), `drop` (the connection ends without an answer), `hang` (no answer until the client leaves), `drip`
    (a byte each 50 ms), `surplus` (the answer is sent twice on the connection).

    Raises:
        ValueError: for an unknown kind, a share outside 0–1, or a negative number.
    """

    kind: FaultKind = attrs.field(validator=_one_of(FaultKind))
    """The kind of fault."""
    share: float = attrs.field(default=1.0, validator=_share)
    """The share of requests with this fault, 0–1."""
    times: int | None = attrs.field(default=None, validator=_optional(_not_negative))
    """The largest number of requests with this fault; None is no limit."""
    retry_after: float | None = attrs.field(default=None, kw_only=True, validator=_optional(_not_negative))
    """The `Retry-After` header, in seconds; None sends no such header."""
    path: str | None = attrs.field(default=None, kw_only=True)
    """The only endpoint with this fault, such as `/recordGroupQuery` or `/recordSip`; None is all of them."""
    date_ahead: float = attrs.field(default=0.0, kw_only=True)
    """Seconds by which the `Date` header of the answer is ahead of the server's clock; negative is behind."""


@attrs.frozen(kw_only=True)
class Behaviour:
    """The behaviour of a sandbox. The defaults follow the vendor's pages.

    Make a variant with `attrs.evolve(behaviour, …)`.

    Raises:
        ValueError: for a value that a switch does not accept.
    """

    ends: Ends = attrs.field(default="[]", validator=_one_of(Ends))
    """Which ends of a range are inclusive, as in interval notation."""
    selects_by: SelectsBy = attrs.field(default="submit_time", validator=_one_of(SelectsBy))
    """The time that a range selects and sorts by; for a record without it, the submit time."""
    order: Order = attrs.field(default="ascending", validator=_one_of(Order))
    """The order of records.

    `unstable` ascends, with another order inside each second on each query. `heap` ascends, with the order inside each
    second that PostgreSQL's bounded heap sort gives to `ORDER BY … LIMIT … OFFSET …` without a tie-breaker: a page is
    the same on each query, but the order differs between pages. `by_id` sorts by `voiceId` and `by_hash` by a hash of
    it: fixed orders that are independent of time.
    """
    past_last: PastLast = attrs.field(default="empty", validator=_one_of(PastLast))
    """The page past the last is without records (`empty`), the first page (`first`), or the first page numbered as the
    requested one (`first_silent`)."""
    always_first_page: bool = False
    """Whether every request is answered with page 1."""
    endless: Endless = attrs.field(default="never", validator=_one_of(Endless))
    """Whether each page past the last holds one more record. `counted` adds it, and the next one, to the total."""
    deepest_row: int | None = attrs.field(default=None, validator=_optional(_at_least(1)))
    """The number of rows after which no page may begin; such a page is -22. None is no limit."""
    total_cap: int | None = attrs.field(default=None, validator=_optional(_at_least(1)))
    """The highest total that is reported; the pages past it are available. None is no limit."""
    total_of_page: bool = False
    """Whether the total that is reported is the number of records on the page."""
    total_one_short: bool = False
    """Whether the total that is reported is one too low where the last page would hold a single record."""

    appears: Appears = attrs.field(default="submitted", validator=_one_of(Appears))
    """Whether a record appears when its call is submitted, or when it has ended."""
    late_share: float = attrs.field(default=0.0, validator=_share)
    """The share of records, 0–1, that appear `late_by` seconds later."""
    late_by: float = attrs.field(default=30.0, validator=_not_negative)
    """The delay of the late records, in seconds."""
    changes_after: float | None = attrs.field(default=None, validator=_optional(_not_negative))
    """Seconds after its submit time until which a record shows an unfinished call; None is never."""
    duplicates: float = attrs.field(default=0.0, validator=_share)
    """The share of records, 0–1, that are counted and listed twice."""
    replicas: int = attrs.field(default=1, validator=_at_least(1))
    """The number of replicas that answer; each request goes to one at random. All but the first are behind."""
    replica_lag: float = attrs.field(default=1.0, validator=_not_negative)
    """Seconds by which replicas are behind. Records that appeared since then are missing, also in their totals."""
    missing_record: MissingRecord = attrs.field(default="null", validator=_one_of(MissingRecord))
    """The answer for an unknown record. `data` is null, empty or absent, or the status is -22."""

    max_span: timedelta = attrs.field(default=timedelta(days=31), validator=_longer_than_nothing)
    """The longest range; a longer one is -25."""
    refuses_future_end: bool = False
    """Whether a range that ends after the server's clock, with its skew, is -25."""
    time_offset: TimeOffset = attrs.field(default="honoured", validator=_one_of(TimeOffset))
    """Whether the offset of a range's times is honoured, or ignored and the time read as `+08:00`."""
    retention: timedelta | None = attrs.field(default=timedelta(days=62), validator=_span_or_none)
    """How far back records are kept; None is no limit."""
    refuses_beyond_retention: bool = True
    """Whether a range that starts before the retention is -25, or is answered without the expired records."""
    max_size: int = attrs.field(default=_LARGEST_PAGE, validator=_at_least(1, _LARGEST_PAGE))
    """The largest page, in records; a larger `size` (up to 100) is reduced to it without an error."""
    sizes: Sizes = attrs.field(default="any", validator=_one_of(Sizes))
    """Whether any `size` is honoured, or only multiples of five and those below: another one is reduced to such a
    multiple (`reduced`), raised to one (`raised`), or -22 (`refused`)."""

    timestamp_tolerance: float = attrs.field(default=300.0, validator=_not_negative)
    """The largest difference of a request's timestamp to the server's clock, in seconds; more is -16."""
    clock_skew: float = 0.0
    """Seconds by which the server's clock is ahead, for timestamps and for the `Date` header."""
    allowed_addresses: frozenset[str] | None = attrs.field(default=None, converter=_addresses)
    """The allowed client addresses, others are -2; None allows all."""
    locked: bool = False
    """Whether the account is locked, which is -13."""

    omits: frozenset[str] = attrs.field(factory=frozenset[str], converter=_names, validator=_page_fields)
    """The fields that a page omits, of `total`, `size`, `current`, `pages`, `records`."""
    null_records: bool = False
    """Whether a page without records says `records: null`."""
    numbers_as_text: bool = False
    """Whether the numbers in `data` are sent as text."""
    status_as_number: bool = False
    """Whether `status` is sent as a number."""
    byte_order_mark: bool = False
    """Whether a body begins with a byte order mark."""
    gzip: bool = False
    """Whether bodies are compressed for clients that accept it."""

    rate_limit: float | None = attrs.field(default=None, validator=_optional(_at_least(_SLOWEST)))
    """Requests per second, 0.001 or more, of all clients; more are HTTP 429. None is no limit."""
    rate_limit_window: float = attrs.field(default=1.0, validator=_at_least(_SLOWEST))
    """The window of the rate limit, in seconds. The requests of a window, at least one, may be sent at once."""
    rate_limit_retry_after: bool = True
    """Whether a 429 of the rate limit has a `Retry-After` header."""
    latency: float = attrs.field(default=0.0, validator=_not_negative)
    """The time until each answer, in seconds."""
    latency_per_row: float = attrs.field(default=0.0, validator=_not_negative)
    """The additional time for each row before the page, in seconds."""
    window_fails_over: int | None = attrs.field(default=None, validator=_optional(_not_negative))
    """The number of rows over which a query is -18; None is no limit."""
    window_times_out_over: timedelta | None = attrs.field(default=None, validator=_span_or_none)
    """The longest range that is answered; a longer one gets no answer until the client leaves. None is no limit."""
    window_unavailable_over: timedelta | None = attrs.field(default=None, validator=_span_or_none)
    """The longest range that is answered; a longer one is HTTP 503 or 504 at random. None is no limit."""
    faults: tuple[Fault, ...] = attrs.field(
        default=(), converter=_in_order, validator=validators.deep_iterable(validators.instance_of(Fault))
    )
    """The faults. Each request draws them in order and has the first one drawn."""

    @classmethod
    def from_probe(cls, report: str | bytes | Mapping[str, Any]) -> Self:
        """Return the behaviour that `itnio-voice probe --json` has found: its JSON, or the object in it.

        Its keys are names of these fields, and durations are in seconds. A field that is missing keeps its default. The
        keys `confidence` and `evidence` are not used.

        Raises:
            ValueError: if it is not a JSON object, for an unknown key, and for a value that a switch does not accept.
        """
        return cls(**_switches(report, get_type_hints(cls)))


_NOT_PROBED = {"faults", "allowed_addresses", "locked"}
_NOT_SWITCHES = {"confidence", "evidence"}


def _switches(report: str | bytes | Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in a probe's report, by the names and types of a behaviour's fields."""
    if isinstance(report, str | bytes):
        try:
            report = msgspec.json.decode(report)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            message = f"a probe's report must be JSON, as itnio-voice probe --json prints it: {error}"
            raise ValueError(message) from None
    if not isinstance(report, Mapping):
        message = f"a probe's report must be a JSON object, not {report!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- an invalid file is a ValueError
    unknown = sorted(str(name) for name in report.keys() - (types.keys() - _NOT_PROBED) - _NOT_SWITCHES)
    if unknown:
        message = f"a probe does not report {', '.join(unknown):.200}: its keys are fields of Behaviour"
        raise ValueError(message)
    return {name: _switch(name, value, types[name]) for name, value in report.items() if name not in _NOT_SWITCHES}


def _switch(name: str, value: Any, kind: Any) -> Any:
    """Return a value of a probe's report as a field's type."""
    # Only durations are not what JSON has; a field of them may also be None.
    is_duration = timedelta in (kind, *get_args(kind)) and value is not None
    try:
        number = msgspec.convert(value, float if is_duration else kind)
        return timedelta(seconds=number) if is_duration else number
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        message = f"{name} cannot be {value!r:.80}: {error}"
        raise ValueError(message) from None
