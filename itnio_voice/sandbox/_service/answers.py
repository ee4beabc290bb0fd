"""The bytes of an answer: envelope, page and record as JSON text, as the switches require."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..behaviour import Behaviour
from .rules import REASONS, SUCCESS, WRONG_PARAMETER, served_size

__all__ = ["Answer", "Page", "answer_record", "encode", "page_of", "unfinished"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FASTEST = 1

_KNOWN_AT_THE_END = frozenset(
    {
        "answerTime",
        "hangupTime",
        "callDuration",
        "chargedDuration",
        "terminationCode",
        "terminationReason",
        "cost",
        "settlePay",
        "feedbackValue",
    }
)


@attrs.frozen
class Answer:
    """What a request is answered.

    `data` is JSON text, None leaves it out; `rows` are the records in it, `offset` those that the query skipped.
    """

    status: str
    data: str | None = "null"
    rows: int = 0
    offset: int = 0


_MISSING: Mapping[str, Answer] = {
    "null": Answer(SUCCESS, "null"),
    "empty": Answer(SUCCESS, "{}"),
    "absent": Answer(SUCCESS, None),
    "parameter": Answer(WRONG_PARAMETER),
}


@attrs.frozen
class Page:
    """The page of an answer: `current` is the number in the answer, `offset` the rows before it (None: no rows).

    `total` is the number of records of the range, and `extra` whether the page has one record more than there are.
    """

    total: int
    size: int
    current: int
    offset: int | None
    extra: bool = False

    def answer(self, rows: Sequence[str], behaviour: Behaviour) -> Answer:
        """Return the answer with the page's records, each as JSON text."""
        records = "null" if not rows and behaviour.null_records else f"[{','.join(rows)}]"
        total = self._reported_total(len(rows), behaviour)
        fields = {
            "total": total,
            "size": self.size,
            "current": self.current,
            "pages": math.ceil(total / self.size),
            "searchCount": "true",
            "records": records,
        }
        shown = ",".join(f'"{name}":{value}' for name, value in fields.items() if name not in behaviour.omits)
        return Answer(SUCCESS, f"{{{shown}}}", rows=len(rows), offset=self.offset or 0)

    def _reported_total(self, rows: int, behaviour: Behaviour) -> int:
        """Return the total that the answer reports."""
        total = rows if behaviour.total_of_page else self.total
        if behaviour.endless == "counted" and total:
            total += max(self.current - _last_page(total, self.size), 0) + 1
        if behaviour.total_one_short and total > 1 and (total - 1) % self.size == 0:
            total -= 1
        return total if behaviour.total_cap is None else min(total, behaviour.total_cap)


def page_of(total: int, *, current: int, size: int, behaviour: Behaviour) -> Page:
    """Return the page to send for a request for page `current` of `size` records, of `total`."""
    size = served_size(size, behaviour)
    last = _last_page(total, size)
    claimed, served = current, current
    if behaviour.always_first_page:
        claimed, served = 1, 1
    elif current > last and total and behaviour.endless != "never":
        return Page(total, size, current, None, extra=True)
    elif current > last and behaviour.past_last != "empty":
        claimed, served = (1 if behaviour.past_last == "first" else current), 1
    return Page(total, size, claimed, (served - 1) * size if total and served <= last else None)


def _last_page(total: int, size: int) -> int:
    return max(math.ceil(total / size), 1)


def answer_record(record: str | None, behaviour: Behaviour) -> Answer:
    """Return the answer with one record, as JSON text, or without one."""
    return _MISSING[behaviour.missing_record] if record is None else Answer(SUCCESS, record, rows=1)


def unfinished(record: str) -> str:
    """Return a record, as JSON text, as it was while its call was going on."""
    fields: dict[str, Any] = json.loads(record)
    return json.dumps({name: value for name, value in fields.items() if name not in _KNOWN_AT_THE_END})


def encode(answer: Answer, behaviour: Behaviour, *, compress: bool, cut_short: bool) -> bytes:
    """Return an answer's body; `compress` is for gzip, `cut_short` for half of the text."""
    status = answer.status if behaviour.status_as_number else f'"{answer.status}"'
    text = f'{{"status":{status},"reason":"{REASONS[answer.status]}"'
    if answer.data is not None:
        text += f',"data":{_numbers_to_text(answer.data) if behaviour.numbers_as_text else answer.data}'
    body = f"{text}}}".encode()
    if cut_short:
        body = body[: len(body) // 2]
    if behaviour.byte_order_mark:
        body = _BYTE_ORDER_MARK + body
    return gzip.compress(body, _FASTEST) if compress else body


def _numbers_to_text(data: str) -> str:
    return json.dumps(json.loads(data, parse_int=str, parse_float=str))
