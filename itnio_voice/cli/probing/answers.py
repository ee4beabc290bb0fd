"""The answers to a probe's requests: their rows, their numbers, and the form of their JSON. Pure."""

from collections.abc import Mapping
from typing import Any, NoReturn

import attrs
import msgspec

from ..._model.errors import APIError, ItnioError, ProtocolError
from ..._model.records import CallRecord
from ..._wire.responses import read_record
from ..._wire.scalars import timestamp

__all__ = ["PAGE_FIELDS", "TIMES", "UNKNOWN_ID", "Answer", "Form", "Row", "read_answer", "read_missing"]

TIMES = {"submit_time": "submitTime", "call_time": "callTime", "hangup_time": "hangupTime"}
"""The times that a range may select by, and their wire names."""
PAGE_FIELDS = ("total", "size", "current", "pages", "records")
UNKNOWN_ID = "0" * 20
"""An id that no record has."""

_SUCCESS = "0"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_NUMBER = 12
_MISSING = {"null": "null", "{}": "empty"}


@attrs.frozen
class Row:
    """A record: its id, and its times in Unix seconds by the names of `TIMES`."""

    voice_id: str
    times: Mapping[str, float]


@attrs.frozen
class Form:
    """The form of a page's JSON. `null_records` is None if the page has rows, `numbers_as_text` if it has no numbers.

    `fields` are those of `PAGE_FIELDS` that were sent.
    """

    byte_order_mark: bool
    status_as_number: bool
    numbers_as_text: bool | None
    null_records: bool | None
    fields: frozenset[str]


@attrs.frozen
class Answer:
    """The answer to a request for a page. If `error` is set, there is no page.

    `requested` is the number of the page, and `size` the number of records per page that were requested. `sent_size`,
    `total` and `current` are the server's numbers, or None if it does not send them.
    """

    requested: int
    size: int
    rows: tuple[Row, ...] = ()
    total: int | None = None
    sent_size: int | None = None
    current: int | None = None
    form: Form | None = None
    error: ItnioError | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the records, in the server's order."""
        return [row.voice_id for row in self.rows]

    @property
    def is_full(self) -> bool:
        """Whether the range may have more records than the page. A total may be one too high, but not two."""
        limit = self.size if self.sent_size is None else self.sent_size
        return bool(self.rows) and (len(self.rows) >= limit or (self.total or 0) > len(self.rows) + 1)

    @property
    def refusal(self) -> str:
        """The reason why there is no page, without text of the server."""
        return f"refused with {self.error.status:.9}" if isinstance(self.error, APIError) else type(self.error).__name__


def read_answer(body: bytes, requested: int, size: int, of: type[CallRecord]) -> Answer:
    """Read the answer to a request for a page.

    It is read leniently: what the server sends is the result of the probe.

    Raises:
        APIError: if the request was refused.
        ProtocolError: if the answer is not a page.
    """
    content = _content(body, of)
    data = content.get("data")
    if not isinstance(data, dict) or not data.keys() & {"records", "total"}:
        message = "the answer's data is not a page"
        raise ProtocolError(message)
    records = data.get("records")
    rows = tuple(_row(each) for each in records if isinstance(each, dict)) if isinstance(records, list) else ()
    numbers = [data[name] for name in PAGE_FIELDS[:-1] if name in data]
    form = Form(
        byte_order_mark=body.startswith(_BYTE_ORDER_MARK),
        status_as_number=type(content["status"]) is int,
        numbers_as_text=all(isinstance(number, str) for number in numbers) if numbers else None,
        null_records=records is None if not rows and "records" in data else None,
        fields=frozenset(PAGE_FIELDS) & data.keys(),
    )
    total, sent_size, current = (_number(data.get(name)) for name in PAGE_FIELDS[:3])
    return Answer(requested, size, rows, total, sent_size, current, form)


def read_missing(body: bytes, of: type[CallRecord]) -> str | None:
    """Read the answer to a request for a record that does not exist: `null`, `empty` or `absent`, or None.

    Raises:
        APIError: if the request was refused.
        ProtocolError: if the answer is not JSON with a status.
    """
    content = _content(body, of)
    if "data" not in content:
        return "absent"
    return _MISSING.get(msgspec.json.encode(content["data"]).decode())


def _content(body: bytes, of: type[CallRecord]) -> Mapping[str, Any]:
    """Return the object in an answer whose status is success."""
    try:
        content = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict) or str(content.get("status")) != _SUCCESS:
        _raise_refusal(body, of)
    return content


def _raise_refusal(body: bytes, of: type[CallRecord]) -> NoReturn:
    """Raise the error in an answer without success."""
    read_record(body, UNKNOWN_ID, of)
    message = "the answer is not JSON with a status"
    raise ProtocolError(message)


def _row(record: Mapping[str, Any]) -> Row:
    times = {}
    for name, wire_name in TIMES.items():
        try:
            at = timestamp(record.get(wire_name))
        except ValueError:
            continue
        if at is not None:
            times[name] = at.timestamp()
    return Row(str(record.get("voiceId") or ""), times)


def _number(value: object) -> int | None:
    """Return a count that is sent as a number or as text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER:
        return int(value)
    return value if type(value) is int and 0 <= value < 10**_LONGEST_NUMBER else None
