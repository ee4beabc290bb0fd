"""From the bytes of an answer to a page, a record or a URL, or to the error in it. Pure, except for one warning.

The text of a record may contain what JSON does not allow: bytes that are not UTF-8, half a surrogate pair, or a raw
control character. Such an answer is not requested again but parsed a second time, leniently, so the record keeps its
text. An answer that is cut off, or broken in another way, is invalid for the lenient parser too. It is requested again.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from .._model.errors import (
    REFUSALS,
    APIError,
    DecodeError,
    ProtocolError,
    RecordNotFoundError,
    TimeRangeError,
    refusal_message,
)
from .._model.printable import Message, get_logger, server_words
from .._model.records import R, RecordingURL
from .fast_pages import PAGE_NUMBERS, learn_extra_fields, read_rows
from .late_records import LateRecords, Redact
from .pages import Page, PageRequest
from .scalars import brief, milliseconds, non_negative_int, number, opaque_json, required, whole_number
from .structuring import structure_field, structure_record

__all__ = ["read_page", "read_record", "read_recording_url"]

_LOGGER = get_logger("itnio_voice.records")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SUCCESS = "0"

# A number's text is kept: 0.10 is Decimal("0.10"), never a binary float.
_decoder = msgspec.json.Decoder(float_hook=number)

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SPACES = dict.fromkeys(range(32), " ")


def read_page(
    body: bytes,
    request: PageRequest,
    of: type[R],
    range_advice: str = TimeRangeError.advice,
    redact: Redact | None = None,
) -> Page[R]:
    """Read the answer to a page request.

    An answer whose `current` or `size` does not match the request may belong to an earlier request on its connection.
    The error is transient, so the request is repeated. Two differences are allowed: a smaller `size` is the server's
    limit, and with another `current` the page is empty if the answer's own numbers say that there are fewer pages.
    `range_advice` is the advice in the error for a range that is refused. With `redact`, which removes secrets from an
    error, the page's records are built late if that is possible.

    Raises:
        APIError: if the vendor refused the request; `TimeRangeError` has the request's window.
        ProtocolError: if the answer is not the vendor's JSON, or not the requested page.
        DecodeError: if a value is invalid for its field.
    """
    read = read_rows(body.removeprefix(_BYTE_ORDER_MARK), of, redact)
    data, records = read or (_page(body, request, range_advice), None)
    total, size, current, pages = (structure_field(data, name, non_negative_int) for name in PAGE_NUMBERS)
    if size is not None and size > request.size:
        _raise_protocol_error(
            f"{request.size} records per page were requested, but the answer has {size}", body, transient=True
        )
    if current is not None and current != request.current:
        if pages is None and total is not None:
            pages = -(-total // (size or request.size))
        if pages is None or pages >= request.current:
            _raise_protocol_error(
                f"page {request.current} was requested, but the answer is page {current}", body, transient=True
            )
        return Page((), total, size or request.size, request.current, pages, is_substitute=True)
    if records is None:
        rows = data["records"]
        records = tuple(_record(row, f"records[{index}]", of) for index, row in enumerate(rows))
        learn_extra_fields(rows, of)
    late = records if isinstance(records, LateRecords) else None
    return Page(() if late else tuple(records), total, size or request.size, request.current, pages, late=late)


def _page(body: bytes, request: PageRequest, range_advice: str) -> Mapping[str, Any]:
    """Return the data of a page, with its rows under `records`."""
    try:
        data, other = _data(body)
    except TimeRangeError as error:
        error.window = request.window
        error.args = (refusal_message(error.status, error.reason, range_advice),)
        raise
    if not isinstance(data, dict) or not ("records" in data or "total" in data):
        _raise_protocol_error("the answer's data is not a page", body)
    if not _same_names(dict.fromkeys(data), dict.fromkeys(other)):
        _raise_protocol_error("a name in the answer's data is damaged", body, transient=True)
    rows = data.get("records")
    if rows is not None and not isinstance(rows, list):
        message = Message("records is {value}, but a list is expected", value=brief(rows))
        raise DecodeError(message, field="records", value=rows)
    if rows and other is not data:
        pairs = zip(rows, other["records"], strict=True)
        rows = [_mended(row, other_row, f"records[{index}]") for index, (row, other_row) in enumerate(pairs)]
    return data | {"records": rows or []}


def read_record(body: bytes, voice_id: str, of: type[R]) -> R:
    """Read the answer to a request for one record.

    Raises:
        RecordNotFoundError: if there is none.
        APIError, ProtocolError, DecodeError: as for `read_page`.
    """
    data, other = _data(body)
    if not data or (isinstance(data, dict) and all(value in (None, "") for value in data.values())):
        message = Message(f"there is no {of.__name__} with the voice_id {{id}}", id=repr(voice_id))
        raise RecordNotFoundError(message)
    record = _record(data if other is data else _mended(data, other, "data"), "data", of)
    if record.voice_id not in (None, voice_id):
        what = "record {id} was requested, but the answer is {other}"
        _raise_protocol_error(what, body, transient=True, id=repr(voice_id), other=f"{record.voice_id!r:.40}")
    return record


def read_recording_url(body: bytes, recording_file_id: str) -> RecordingURL:
    """Read the answer to a request for a recording's URL.

    Raises:
        RecordNotFoundError: if there is none.
        APIError, ProtocolError, DecodeError: as for `read_page`.
    """
    data, other = _data(body)
    if other is not data:
        _raise_protocol_error("the answer's text is damaged", body, transient=True)
    if not data:
        message = Message("there is no recording with the id {id}", id=repr(recording_file_id))
        raise RecordNotFoundError(message)
    if not isinstance(data, dict):
        _raise_protocol_error("the answer's data is not a recording's URL", body)
    return RecordingURL(structure_field(data, "url", required), structure_field(data, "expireTime", milliseconds))


def _record(row: Any, place: str, of: type[R]) -> R:
    if not isinstance(row, dict):
        message = Message(f"{place} is {{value}}, but a record is expected", value=brief(row))
        raise DecodeError(message, field=place, value=row)
    return structure_record(row, of)


def _data(body: bytes) -> tuple[Any, Any]:
    """Return the data in the envelope of an answer, twice as in `_decoded`; raise the error of a refused request."""
    answer, other = _decoded(body)
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, str | int) or isinstance(status, bool):
        _raise_protocol_error("the answer is JSON, but not the vendor's: it has no status", body)
    if str(status) != _SUCCESS:
        raise _refusal(str(status), answer)
    return answer.get("data"), other.get("data")


def _decoded(body: bytes) -> tuple[Any, Any]:
    """Return an answer twice: the same object if it is valid JSON, two objects if only the lenient parser reads it.

    In the second object, control characters are replaced by spaces, and bytes that are not UTF-8 are left out. So text
    that is equal in both is valid JSON, unless it has half a surrogate pair.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
    else:
        return answer, answer
    # Outside the except block the error has no context: a UnicodeDecodeError would hold the complete body.
    found = _leniently(body)
    if found is None:
        _raise_protocol_error("the answer is not JSON ({problem})", body, transient=True, problem=f"{problem:.200}")
    return found


def _leniently(body: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the two objects of an answer with damaged text; None if more than the text of its data is damaged."""
    try:
        answer = _loads(body.decode("utf-8", "replace"))
        other = _loads(body.decode("utf-8", "ignore").translate(_SPACES))
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or not _same_names(dict.fromkeys(answer), dict.fromkeys(other)):
        return None
    status = answer.get("status")
    if status is None or status != other.get("status") or _SURROGATE.search(str(status)):
        return None
    return answer, other


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_float=number, parse_int=whole_number, parse_constant=_no_number)


def _no_number(constant: str) -> NoReturn:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _same_names(value: Any, other: Any) -> bool:
    """Return whether all names in a value are undamaged: equal in both objects, and without half a surrogate pair."""
    if isinstance(value, dict):
        return (
            isinstance(other, dict)
            and value.keys() == other.keys()
            and not any(map(_SURROGATE.search, value))
            and all(_same_names(item, other[name]) for name, item in value.items())
        )
    if isinstance(value, list):
        return isinstance(other, list) and all(map(_same_names, value, other))
    return True


def _replaced(value: Any) -> Any:
    """Return a value with U+FFFD for each half of a surrogate pair in its text."""
    if isinstance(value, str):
        return _SURROGATE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {name: _replaced(item) for name, item in value.items()}
    return list(map(_replaced, value)) if isinstance(value, list) else value


def _mended(row: Any, other: Any, place: str) -> Any:
    """Return the row of a record with U+FFFD for each invalid character, and log a warning if there is any.

    U+FFFD is accepted in any text of a record except its id, because records are deduplicated by their ids. It is not
    accepted in names.

    Raises:
        DecodeError: if the record's id is damaged or missing, or a name is damaged.
    """
    if not isinstance(row, dict):
        return row
    for name in row:
        structure_field(row, name, opaque_json)  # bounds the depth for what follows
    mended: dict[str, Any] = {name: _replaced(value) for name, value in row.items()}
    names = [
        name
        for name in {**row, **other}
        if name not in row or name not in other or not _same_names({name: row[name]}, {name: other[name]})
    ]
    texts = [name for name in row if name not in names and not row[name] == other[name] == mended[name]]
    if not names and not texts:
        return mended
    voice_id = None if "voiceId" in texts else mended.get("voiceId")
    if voice_id in (None, ""):
        name = "voiceId" if "voiceId" in texts else (names + texts)[0]
        raise _damage(mended, name, place, "a record with damaged text needs a sound voiceId")
    if names:
        raise _damage(mended, names[0], f"record {voice_id!s:.40}", "a name without damage is expected", str(voice_id))
    extra = {"itnio.voice_id": str(voice_id), "itnio.fields": texts}
    shown = f"record {voice_id!s:.40}: {', '.join(texts):.200}"
    _LOGGER.warning("%s: text that JSON does not allow; U+FFFD replaces invalid characters", shown, extra=extra)
    return mended


def _damage(row: Mapping[str, Any], name: str, whose: str, why: str, voice_id: str | None = None) -> DecodeError:
    """Return the error for a damaged field without which the record cannot be read."""
    value = row.get(name)
    message = Message(f"{{whose}}: {{name}} is {{value}}, but {why}", whose=whose, name=name[:80], value=brief(value))
    return DecodeError(message, voice_id=voice_id, field=_replaced(name), value=value)


def _refusal(status: str, answer: Mapping[str, Any]) -> APIError:
    """Return the error for a status that is not success."""
    kind = REFUSALS.get(status, APIError)
    sent = answer.get("reason") or "no reason given"
    reason = _replaced(brief(sent) if isinstance(sent, dict | list) else str(sent))
    return kind(refusal_message(status, reason, kind.advice), status=status, reason=reason)


def _raise_protocol_error(what: str, body: bytes, *, transient: bool = False, **quotes: str) -> NoReturn:
    """Raise the error for an invalid answer, with an excerpt in which words with many digits are left out."""
    excerpt = server_words(body[:300].decode("utf-8", "replace"))[:120]
    message = Message(f"{what}: {{excerpt}}", excerpt=repr(excerpt), **quotes)
    raise ProtocolError(message, excerpt=excerpt, transient=transient)
