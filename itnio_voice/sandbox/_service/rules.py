"""The vendor's rules for a request, each with the status for breaking it. Pure: the clock is an argument."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5
from hmac import compare_digest
from typing import Any, cast

import attrs

from .._data.dataset import VENDOR_TIME
from ..behaviour import Behaviour, TimeOffset

__all__ = ["REASONS", "Query", "Refusal", "authenticate", "check_depth", "check_range", "digest", "read_query"]

SUCCESS = "0"
WRONG_SIGNATURE = "-1"
WRONG_ADDRESS = "-2"
LOCKED = "-13"
WRONG_TIMESTAMP = "-16"
SYSTEM_ERROR = "-18"
WRONG_PARAMETER = "-22"
OUT_OF_RANGE = "-25"

REASONS: Mapping[str, str] = {
    SUCCESS: "success",
    WRONG_SIGNATURE: "Authentication error",
    WRONG_ADDRESS: "Restricted IP access",
    LOCKED: "User locked",
    WRONG_TIMESTAMP: "Timestamp expires",
    SYSTEM_ERROR: "Port program unusual",
    WRONG_PARAMETER: "Parameter exception",
    OUT_OF_RANGE: "Out of time range",
}
"""The vendor's reason for each status."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})")
_DIGITS = re.compile(r"[0-9]{1,18}")
_DEFAULT_SIZE = 25
_LARGEST_SIZE = 100
_SIZE_STEP = 5


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of the stand-in
    """The request breaks a rule: `status` is the vendor's code."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@attrs.frozen
class Query:
    """The arguments of a page request: `start` and `end` are aware, `params` is as it was received."""

    current: int
    size: int
    start: datetime
    end: datetime
    params: Mapping[str, Any]


def digest(api_key: str, api_secret: str, timestamp: str) -> str:
    """Return the signature: MD5 of the UTF-8 text of key, secret and timestamp, 32 hexadecimal digits."""
    return md5((api_key + api_secret + timestamp).encode(), usedforsecurity=False).hexdigest()


def authenticate(
    headers: Mapping[str, str], client: str, accounts: Mapping[str, str], behaviour: Behaviour, now: float
) -> str:
    """Return the key of the account that a request comes from.

    `accounts` are secrets by key; `now` is the time in Unix seconds, without the clock skew. Checked in this order:

    1. there is a timestamp in digits (-22), a key and a signature (-1);
    2. the key is known and the signature right, in either case (-1);
    3. the account is not locked (-13);
    4. the address is on the list (-2);
    5. the timestamp is near the server's clock (-16).

    Raises:
        Refusal: for the first rule that is broken.
    """
    timestamp = headers.get("timestamp", "")
    if not _DIGITS.fullmatch(timestamp):
        raise Refusal(WRONG_PARAMETER)
    key = headers.get("api-key", "")
    signature = headers.get("sign", "").lower()
    # Bytes, since headers may hold more than ASCII, which compare_digest refuses in text.
    expected = digest(key, accounts.get(key, ""), timestamp)
    if key not in accounts or not compare_digest(signature.encode(), expected.encode()):
        raise Refusal(WRONG_SIGNATURE)
    if behaviour.locked:
        raise Refusal(LOCKED)
    if behaviour.allowed_addresses is not None and client not in behaviour.allowed_addresses:
        raise Refusal(WRONG_ADDRESS)
    if abs(int(timestamp) - (now + behaviour.clock_skew)) > behaviour.timestamp_tolerance:
        raise Refusal(WRONG_TIMESTAMP)
    return key


def read_query(content_type: str, body: bytes, time_offset: TimeOffset = "honoured") -> Query:
    """Read the body of a query; where `time_offset` is ignored, its times are read as the vendor's local time.

    It is a JSON object, with the content type of JSON. `current` is 1 or more (1 if it is missing) and `size` is 1 to
    100 (25 if it is missing), as numbers or digits; neither may be empty. `params` holds `strTime` and `endTime`, ISO
    8601 with an offset and whole seconds, in order.

    Raises:
        Refusal: -22.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(WRONG_PARAMETER)
    try:
        fields = _as_object(json.loads(body))
    except (ValueError, RecursionError):
        raise Refusal(WRONG_PARAMETER) from None
    params = _as_object(fields.get("params"))
    query = Query(
        current=_whole_number(fields.get("current", 1)),
        size=_whole_number(fields.get("size", _DEFAULT_SIZE)),
        start=_time(params.get("strTime"), time_offset),
        end=_time(params.get("endTime"), time_offset),
        params=params,
    )
    if query.current < 1 or not 1 <= query.size <= _LARGEST_SIZE or query.start > query.end:
        raise Refusal(WRONG_PARAMETER)
    return query


def check_range(query: Query, behaviour: Behaviour, now: float) -> None:
    """Check that a range is not too long, not too old and not in the future; one at the limit is accepted.

    Raises:
        Refusal: -25, for each of these reasons.
    """
    too_long = query.end - query.start > behaviour.max_span
    too_old = behaviour.refuses_beyond_retention and query.start.timestamp() < oldest(behaviour, now)
    too_new = behaviour.refuses_future_end and query.end.timestamp() > now + behaviour.clock_skew
    if too_long or too_old or too_new:
        raise Refusal(OUT_OF_RANGE)


def served_size(size: int, behaviour: Behaviour) -> int:
    """Return the number of records of a page for a requested size.

    Raises:
        Refusal: -22, if the size is refused.
    """
    size = min(size, behaviour.max_size)
    odd = size % _SIZE_STEP if size > _SIZE_STEP else 0
    if odd and behaviour.sizes == "refused":
        raise Refusal(WRONG_PARAMETER)
    return size + {"reduced": -odd, "raised": _SIZE_STEP - odd}.get(behaviour.sizes, 0) if odd else size


def check_depth(query: Query, behaviour: Behaviour) -> None:
    """Check that a page does not begin too deep.

    Raises:
        Refusal: -22.
    """
    before = (query.current - 1) * served_size(query.size, behaviour)
    if behaviour.deepest_row is not None and before >= behaviour.deepest_row:
        raise Refusal(WRONG_PARAMETER)


def oldest(behaviour: Behaviour, now: float) -> float:
    """Return the time of the oldest record that is still kept, in Unix seconds."""
    return float("-inf") if behaviour.retention is None else now - behaviour.retention.total_seconds()


def _as_object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(WRONG_PARAMETER)
    return cast("dict[str, Any]", value)


def _whole_number(value: object) -> int:
    # type() and not isinstance(): JSON's true is not a number, but Python's True is an int.
    if type(value) is int:
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    raise Refusal(WRONG_PARAMETER)


def _time(value: object, time_offset: TimeOffset) -> datetime:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            time = datetime.fromisoformat(value)
            return (time if time_offset == "honoured" else time.replace(tzinfo=VENDOR_TIME)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refusal(WRONG_PARAMETER)
