"""Call records as frozen values, independent of JSON and HTTP."""

import re
from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Self

import attrs
from typing_extensions import TypeVar

from .plain import DICT_READER, plain
from .pydantic_schema import core_schema_of, json_schema_of

__all__ = [
    "DEFAULT_CURRENCY",
    "BillPeriod",
    "CallRecord",
    "R",
    "RecordingFile",
    "RecordingURL",
    "SipRecord",
    "VoiceRecord",
    "content",
]

DEFAULT_CURRENCY = "USD"
"""The currency of a record without `currency`: the vendor fills that in only if the quotation is in another one."""

_BILL_PERIOD = re.compile(r"\s*([0-9]{1,9})\s*\+\s*([0-9]{1,9})\s*")
_NO_KEY = "-1"


@attrs.frozen
class BillPeriod:
    """The billing steps of a call, in seconds: `20+20` is `BillPeriod(initial=20, increment=20)`."""

    initial: int
    increment: int

    @classmethod
    def parse(cls, text: str | None) -> "BillPeriod | None":
        """Read the vendor's `initial+increment`; None if the text has another form."""
        steps = _BILL_PERIOD.fullmatch(text or "")
        return cls(int(steps[1]), int(steps[2])) if steps else None


@attrs.frozen
class RecordingURL:
    """The URL of a recording, and when it expires.

    `expires_at` is aware (UTC), or None if the API did not send it.
    """

    url: str
    expires_at: datetime | None


@attrs.frozen
class RecordingFile:
    """A recording that was downloaded.

    `size` is in bytes, `sha256` the digest of the file in hexadecimal digits, and `content_type` what the server calls
    its format, such as `audio/wav`; None if it does not.
    """

    path: Path
    size: int
    sha256: str
    content_type: str | None


@attrs.frozen
class CallRecord:
    """The fields that all kinds of call records have.

    Each may be None: the API omits a field without a value, or sends null or "". Times are aware datetimes in the
    offset that the API sent; do not assume that they are in order. Durations are whole seconds, money and rates are
    `Decimal`, and text is unchanged. `extra` holds the fields that the class does not name, under their wire names,
    sorted by name.
    """

    voice_id: str | None = None
    callee: str | None = None
    display_num: str | None = None
    code: str | None = None
    submit_time: datetime | None = None
    call_time: datetime | None = None
    ringing_time: datetime | None = None
    answer_time: datetime | None = None
    hangup_time: datetime | None = None
    call_duration: int | None = None
    charged_duration: int | None = None
    termination_code: str | None = None
    termination_reason: str | None = None
    cost: Decimal | None = None
    bill_period: str | None = None
    rate: Decimal | None = None
    settle_rate: Decimal | None = None
    quote_exchange: Decimal | None = None
    settle_pay: Decimal | None = None
    currency: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, kw_only=True)

    @property
    def answered(self) -> bool:
        """Whether the call was answered, so that the record has an answer time."""
        return self.answer_time is not None

    @property
    def finished(self) -> bool:
        """Whether the call is over, so that the record has a termination code."""
        return self.termination_code is not None

    @property
    def billing(self) -> BillPeriod | None:
        """The billing steps in seconds, read from `bill_period`; None if that is missing or unreadable."""
        return BillPeriod.parse(self.bill_period)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as values for JSON, under its attribute names; amounts and times are text."""
        return {field.name: plain(getattr(self, field.name)) for field in attrs.fields(type(self))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the record with the values of a `to_dict()`, also after JSON: the inverse of `to_dict()`.

        Amounts and times may be text or `Decimal` and aware datetimes. A float is no amount, because it is not exact.
        A missing key is None. Derived values, such as `answered`, may be there, and must be right. In `extra`, what
        `to_dict()` has made text stays text.

        Raises:
            ValueError: if a key is unknown, or a value is invalid for its field: for example a time without an offset,
                or an amount whose exponent is not between -40 and 40, as for the API's answers.
        """
        record: Self = DICT_READER.read(values, cls)
        return record

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Return how pydantic reads records, by `from_dict()`, and writes them, by `to_dict()`."""
        return core_schema_of(cls, cls.from_dict, cls.to_dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON schema of the class, for OpenAPI."""
        return json_schema_of(cls, validation=handler.mode == "validation")


@attrs.frozen
class VoiceRecord(CallRecord):
    """A voice-message record: a group call or a voice code (`/recordGroupQuery`)."""

    base_cost: Decimal | None = None
    voice_file_id: str | None = None
    feedback_value: str | None = None
    called_info: str | None = None

    @property
    def pressed_key(self) -> str | None:
        """The key that the callee pressed; None if no key was pressed (`-1` in the API)."""
        return None if self.feedback_value == _NO_KEY else self.feedback_value


R = TypeVar("R", bound=CallRecord, default=VoiceRecord)
"""The class of the requested records."""


@attrs.frozen
class SipRecord(CallRecord):
    """A phone (SIP) record (`/recordSipQuery`)."""

    sip_group_name: str | None = None
    phone_name: str | None = None
    recording_file_id: str | None = None


_PLAIN = frozenset({type(None), str, int, bool, float, Decimal, datetime})
"""The types of most values: they are hashable."""


def content(value: Any) -> Hashable:
    """Return the content of a record or another value as a hashable value: equal for equal content.

    A user's own record class may have fields that are not hashable, such as lists, or that compare by identity.
    """
    kind: Any = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]  # it is hashable
    parts: Hashable
    if isinstance(value, Mapping):
        parts = frozenset((name, content(item)) for name, item in value.items())
    elif isinstance(value, list | tuple):
        parts = tuple(map(content, value))
    elif isinstance(value, AbstractSet):
        parts = frozenset(map(content, value))
    elif attrs.has(kind):
        parts = tuple(content(getattr(value, field.name)) for field in attrs.fields(kind) if field.eq)
    elif isinstance(value, Enum | type) or (kind.__hash__ is not None and kind.__hash__ is not object.__hash__):
        return value  # type: ignore[no-any-return]  # it is hashable
    else:
        parts = content(vars(value)) if hasattr(value, "__dict__") else repr(value)
    return kind, parts
