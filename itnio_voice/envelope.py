"""From the bytes of an answer to what was asked for, or to the error that the answer is. Pure."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from .converters import structure_field, structure_record
from .errors import REFUSALS, APIError, DecodeError, ProtocolError, RecordNotFoundError, TimeRangeError
from .models import R, RecordingURL
from .paging import Page, PageRequest
from .rows import PAGE_NUMBERS, learn, read_rows
from .values import brief, milliseconds, natural, number, required

__all__ = ["read_page", "read_record", "read_recording_url"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SUCCESS = "0"
# What an error may show of a server's own words: words of letters with few digits, short numbers, and punctuation. The
# rest, be it a phone number, an id or a signature, is left out.
_NOT_SHOWN = re.compile(r"[^\s\w<>{}\[\]():;,.!?'\"/=-]|\b(?!\d{1,5}\b)\w*\d\w*\d\w*\d\w*")

# A number's text is kept: 0.10 is Decimal("0.10"), never a binary float.
_decoder = msgspec.json.Decoder(float_hook=number)


def read_page(body: bytes, request: PageRequest, of: type[R]) -> Page[R]:
    """Read the answer to a page request.

    Some servers answer a page past the last with another page. So a page that is not the one asked for is empty if
    the answer tells fewer pages than that.

    Raises:
        APIError: if the vendor refused; `TimeRangeError` names the request's window.
        ProtocolError: if it is not the vendor's JSON, or is another page than the one asked for.
        DecodeError: if a value is not what its field holds.
    """
    data, records = read_rows(body.removeprefix(_BYTE_ORDER_MARK), of) or (_page(body, request), None)
    total, size, current, pages = (structure_field(data, name, natural) for name in PAGE_NUMBERS)
    if current is not None and current != request.current:
        if pages is None and total is not None:
            pages = -(-total // (size or request.size))
        if pages is None or pages >= request.current:
            _break_off(f"page {request.current} was asked for, and page {current} came", body)
        records = ()
    if records is None:
        rows = data["records"]
        records = tuple(_record(row, f"records[{index}]", of) for index, row in enumerate(rows))
        learn(rows, of)
    return Page(records, total, size or request.size, request.current, pages)


def _page(body: bytes, request: PageRequest) -> Mapping[str, Any]:
    """Return the data of a page, with its rows under `records`."""
    try:
        data = _data(body)
    except TimeRangeError as error:
        error.window = request.window
        raise
    if not isinstance(data, dict) or not ("records" in data or "total" in data):
        _break_off("the answer's data is not a page", body)
    rows = data.get("records")
    if rows is not None and not isinstance(rows, list):
        message = f"records is {brief(rows)}, but a list is expected"
        raise DecodeError(message, field="records", value=rows)
    return data | {"records": rows or []}


def read_record(body: bytes, voice_id: str, of: type[R]) -> R:
    """Read the answer to a question for one record.

    Raises:
        RecordNotFoundError: if there is none.
        APIError, ProtocolError, DecodeError: as for `read_page`.
    """
    data = _data(body)
    if not data or (isinstance(data, dict) and all(value in (None, "") for value in data.values())):
        message = f"there is no {of.__name__} with the voice_id {voice_id!r}"
        raise RecordNotFoundError(message)
    record = _record(data, "data", of)
    if record.voice_id not in (None, voice_id):
        _break_off(f"record {voice_id!r} was asked for, and {record.voice_id!r:.40} came", body)
    return record


def read_recording_url(body: bytes, recording_file_id: str) -> RecordingURL:
    """Read the answer to a question for a recording's URL.

    Raises:
        RecordNotFoundError: if there is none.
        APIError, ProtocolError, DecodeError: as for `read_page`.
    """
    data = _data(body)
    if not data:
        message = f"there is no recording with the id {recording_file_id!r}"
        raise RecordNotFoundError(message)
    if not isinstance(data, dict):
        _break_off("the answer's data is not a recording's URL", body)
    return RecordingURL(structure_field(data, "url", required), structure_field(data, "expireTime", milliseconds))


def _record(row: Any, place: str, of: type[R]) -> R:
    if not isinstance(row, dict):
        message = f"{place} is {brief(row)}, but a record is expected"
        raise DecodeError(message, field=place, value=row)
    return structure_record(row, of)


def _data(body: bytes) -> Any:
    """Open the envelope; what the vendor refuses is raised."""
    problem = ""
    answer: Any = None
    try:
        answer = _decoder.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
    if problem:
        # Raised out here, without the context: a UnicodeDecodeError holds the whole body.
        _break_off(f"the answer is not JSON ({problem:.200})", body, transient=True)
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, str | int) or isinstance(status, bool):
        _break_off("the answer is JSON, but not the vendor's: it has no status", body)
    if str(status) != _SUCCESS:
        raise _refusal(str(status), answer)
    return answer.get("data")


def _refusal(status: str, answer: Mapping[str, Any]) -> APIError:
    """Return the error of a status that is not success."""
    kind = REFUSALS.get(status, APIError)
    told = answer.get("reason") or "no reason given"
    reason = _shown(brief(told) if isinstance(told, dict | list) else str(told))
    return kind(f"{status:.40}: {reason:.200} ({kind.advice})", status=status, reason=reason)


def _shown(text: str) -> str:
    """Return what an error may show of a server's own words."""
    return _NOT_SHOWN.sub("…", text)


def _break_off(what: str, body: bytes, *, transient: bool = False) -> NoReturn:
    """Raise the error of an answer, with an excerpt of it in which words with many digits are left out."""
    excerpt = _shown(body[:300].decode("utf-8", "replace"))[:120]
    message = f"{what}: {excerpt!r}"
    raise ProtocolError(message, excerpt=excerpt, transient=transient)
