"""The vendor's service as an ASGI application with five endpoints; each request is checked, answered and noted."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import formatdate
from itertools import count
from random import Random
from typing import Any

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from .._data.dataset import Kind, complete
from .._data.store import FILTERS, Row, Selection, Store
from .._data.wav import recording
from ..behaviour import Behaviour, Fault, FaultKind
from . import faults
from .answers import Answer, answer_record, encode, page_of, unfinished
from .rules import (
    SYSTEM_ERROR,
    WRONG_PARAMETER,
    WRONG_TIMESTAMP,
    Query,
    Refusal,
    authenticate,
    check_depth,
    check_range,
    read_query,
)

__all__ = ["BASE_PATH", "Request", "Service"]

BASE_PATH = "/voice"
"""Where the endpoints are, below the server's address."""

_URL_SECONDS = 3600
_SALT = 2**31
_LAST_SECOND = 253_402_300_799  # of the year 9999
_UNAVAILABLE: tuple[FaultKind, ...] = ("status_503", "status_504")


@attrs.frozen(kw_only=True)
class Request:
    """A request to the sandbox, and its answer.

    `at` is in Unix seconds. `account` is the key, None without a valid signature. `current`, `size`, `start` and `end`
    (aware) are None if they could not be read. `answered` is the vendor's status, such as `0` or `-25`; else the HTTP
    status, such as `503`; else the kind of fault, such as `drop`. `rows` is the number of records in the answer.
    """

    method: str
    path: str
    at: float
    account: str | None = None
    current: int | None = None
    size: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    answered: str
    rows: int = 0


@attrs.define
class _Visit:
    """A request while it is being answered."""

    http: HTTPRequest
    path: str
    body: bytes
    behaviour: Behaviour
    now: float
    lag: float
    account: str | None = None
    query: Query | None = None


class _BrokenError(Exception):
    """A fault that depends on what is requested ends the request."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


class Service:
    """The service: an ASGI application whose behaviour can be changed at any time, from the next request on.

    `store` returns the records; `accounts` are secrets by key; `before` is called with the number of each request, from
    1, before it is looked at.
    """

    def __init__(
        self,
        *,
        store: Callable[[], Store],
        accounts: Mapping[str, str],
        behaviour: Behaviour,
        seed: int,
        clock: Callable[[], float],
        before: Callable[[int], None],
    ) -> None:
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._before = before
        self._numbers = count(1)
        self._random = Random(seed)
        self._draws = faults.FaultPicker(Random(seed))
        self._rate_limit = faults.RateLimit()
        self._asgi = Starlette(
            routes=[
                self._route("POST", "/recordGroupQuery", lambda visit: self._answer_page(visit, "group")),
                self._route("GET", "/recordGroup/{voice_id}", lambda visit: self._answer_record(visit, "group")),
                self._route("POST", "/recordSipQuery", lambda visit: self._answer_page(visit, "sip")),
                self._route("GET", "/recordSip/{voice_id}", lambda visit: self._answer_record(visit, "sip")),
                self._route("GET", "/getRecordingFileUrl", self._answer_recording_url),
                Route(f"{BASE_PATH}/recordings", _recording, name="recording"),
            ],
            exception_handlers={HTTPException: self._not_found},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._asgi(scope, receive, send)
            return
        flying = [self]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

        def land() -> None:
            if flying:
                flying.pop().in_flight -= 1

        async def counted(message: Message) -> None:
            # Before the last byte is sent: a client with its answer may send the next request at once, and counts once.
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                land()
            await send(message)

        try:
            await self._asgi(scope, receive, counted)
        finally:
            land()

    def reset_requests(self) -> None:
        """Forget the requests so far; the next one is number 1."""
        self.requests.clear()
        self._numbers = count(1)
        self.most_in_flight = self.in_flight

    def _route(self, method: str, path: str, answer: Callable[[_Visit], Answer]) -> Route:
        async def endpoint(http: HTTPRequest) -> Response:
            try:
                body = await http.body()
            except ClientDisconnect:
                return Response()
            self._before(next(self._numbers))
            # Read only now, because `before` may change the behaviour and the clock.
            visit = _Visit(http, _endpoint(http), body, self.behaviour, self._clock(), self._lag(self.behaviour))
            return self._serve(visit, answer)

        return Route(f"{BASE_PATH}{path}", endpoint, methods=[method])

    def _serve(self, visit: _Visit, answer: Callable[[_Visit], Answer]) -> Response:
        behaviour = visit.behaviour
        headers = _date(visit.now, behaviour)
        wait = self._rate_limit.seconds_to_wait(behaviour.rate_limit, behaviour.rate_limit_window, visit.now)
        if wait:
            self._note(visit, "429")
            if behaviour.rate_limit_retry_after:
                headers["Retry-After"] = str(wait)
            return _canned(faults.TOO_MANY, headers, behaviour)
        fault = self._draws.draw(behaviour.faults, visit.path)
        if fault is not None and fault.date_ahead:
            headers = _date(visit.now + fault.date_ahead, behaviour)
        if fault is not None and fault.retry_after is not None:
            headers["Retry-After"] = f"{fault.retry_after:g}"
        if fault is None or faults.canned(fault) is None:
            try:
                return self._reply(visit, self._checked(visit, answer, fault), fault, headers)
            except _BrokenError as broken:
                fault = broken.fault
        return self._fail(visit, fault, headers)

    def _fail(self, visit: _Visit, fault: Fault, headers: dict[str, str]) -> Response:
        """Answer with a fault that does not depend on the request."""
        canned = faults.canned(fault)
        assert canned is not None  # noqa: S101 - the caller has just seen to it
        self._note(visit, str(canned.status_code) if canned.status_code >= 400 else fault.kind)  # noqa: PLR2004 - HTTP's errors
        return _canned(canned, headers, visit.behaviour, delivery=faults.delivery(fault))

    def _lag(self, behaviour: Behaviour) -> float:
        """Draw the replica that answers, and return how many seconds it is behind."""
        late = behaviour.replicas > 1 and self._random.randrange(behaviour.replicas)
        return behaviour.replica_lag if late else 0.0

    def _checked(self, visit: _Visit, answer: Callable[[_Visit], Answer], fault: Fault | None) -> Answer:
        """Check the account before anything else, then answer."""
        client = visit.http.client.host if visit.http.client else ""
        if fault is not None and fault.kind == "system_error":
            return Answer(SYSTEM_ERROR)
        if fault is not None and fault.kind == "timestamp_expired":
            return Answer(WRONG_TIMESTAMP)
        try:
            visit.account = authenticate(visit.http.headers, client, self._accounts, visit.behaviour, visit.now)
            return answer(visit)
        except Refusal as refusal:
            return Answer(refusal.status)

    def _reply(self, visit: _Visit, answer: Answer, fault: Fault | None, headers: dict[str, str]) -> Response:
        behaviour, delivery = visit.behaviour, faults.delivery(fault)
        cut_short = fault is not None and fault.kind == "truncated"
        self._note(visit, fault.kind if fault and (cut_short or delivery != "whole") else answer.status, answer.rows)
        compress = behaviour.gzip and "gzip" in visit.http.headers.get("accept-encoding", "")
        if compress:
            headers["Content-Encoding"] = "gzip"
        body = encode(answer, behaviour, compress=compress, cut_short=cut_short)
        delay = behaviour.latency + behaviour.latency_per_row * answer.offset
        return faults.Reply(body, headers=headers, delivery=delivery, delay=delay)

    def _answer_page(self, visit: _Visit, kind: Kind) -> Answer:
        behaviour, now = visit.behaviour, visit.now
        content_type = visit.http.headers.get("content-type", "")
        visit.query = query = read_query(content_type, visit.body, behaviour.time_offset)
        check_range(query, behaviour, now)
        check_depth(query, behaviour)
        self._break_if_too_long(query, behaviour)
        selection = self._selection(
            visit, kind, _filters(query) if kind == "sip" else {}, query.start.timestamp(), query.end.timestamp()
        )
        store, rows = self._store(), list[Row]()
        # Total and records of an answer belong to the same moment.
        with store.unchanged:
            total = store.count(selection)
            if behaviour.window_fails_over is not None and total > behaviour.window_fails_over:
                raise Refusal(SYSTEM_ERROR)
            page = page_of(total, current=query.current, size=query.size, behaviour=behaviour)
            if page.offset is not None:
                salt = self._random.randrange(_SALT)
                rows = store.page(selection, limit=page.size, offset=page.offset, salt=salt)
        if page.extra:
            rows = [_extra(query, kind)]
        return page.answer([_as_seen(row, visit) for row in rows], behaviour)

    def _break_if_too_long(self, query: Query, behaviour: Behaviour) -> None:
        """Fail if a range is longer than the longest that is answered, or answered in time."""
        span = query.end - query.start
        if behaviour.window_times_out_over is not None and span > behaviour.window_times_out_over:
            raise _BrokenError(Fault("hang"))
        if behaviour.window_unavailable_over is not None and span > behaviour.window_unavailable_over:
            raise _BrokenError(Fault(self._random.choice(_UNAVAILABLE)))

    def _answer_record(self, visit: _Visit, kind: Kind) -> Answer:
        voice_id: str = visit.http.path_params["voice_id"]
        row = self._store().find(self._selection(visit, kind, {"voice_id": voice_id}))
        return answer_record(None if row is None else _as_seen(row, visit), visit.behaviour)

    def _answer_recording_url(self, visit: _Visit) -> Answer:
        file_id = visit.http.query_params.get("recordingFileId")
        kind = _SOURCES.get(visit.http.query_params.get("sourceType", "group"))
        if not file_id or kind is None:
            raise Refusal(WRONG_PARAMETER)
        row = self._store().find(self._selection(visit, kind, {"file": file_id}))
        expires = int((visit.now + visit.behaviour.clock_skew + _URL_SECONDS) * 1000)
        url = str(visit.http.url_for("recording").include_query_params(id=file_id))
        found = None if row is None else json.dumps({"url": url, "expireTime": expires})
        return attrs.evolve(answer_record(found, visit.behaviour), rows=0)

    def _selection(
        self,
        visit: _Visit,
        kind: Kind,
        filters: Mapping[str, str],
        start: float | None = None,
        end: float | None = None,
    ) -> Selection:
        return Selection(
            account=visit.account or "",
            kind=kind,
            behaviour=visit.behaviour,
            now=visit.now,
            start=start,
            end=end,
            filters=filters,
            lag=visit.lag,
        )

    def _note(self, visit: _Visit, answered: str, rows: int = 0) -> None:
        fields: dict[str, Any] = {}
        if visit.query is not None:
            fields = {name: getattr(visit.query, name) for name in ("current", "size", "start", "end")}
        method, path, at, account = visit.http.method, visit.path, visit.now, visit.account
        self.requests.append(
            Request(method=method, path=path, at=at, account=account, answered=answered, rows=rows, **fields)
        )

    async def _not_found(self, http: HTTPRequest, error: Exception) -> Response:
        """Answer a request for an unknown endpoint or with a wrong method."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        at = self._clock()
        self.requests.append(Request(method=http.method, path=_endpoint(http), at=at, answered=str(status)))
        return Response(status_code=status, headers=_date(at, self.behaviour))


def _endpoint(http: HTTPRequest) -> str:
    path: str = http.scope["path"]
    return path.removeprefix(BASE_PATH)


def _date(now: float, behaviour: Behaviour) -> dict[str, str]:
    return {"Date": formatdate(min(max(now + behaviour.clock_skew, 0), _LAST_SECOND), usegmt=True)}


_SOURCES: Mapping[str, Kind] = {"group": "group", "sip": "sip"}


def _canned(
    answer: faults.Canned, headers: dict[str, str], behaviour: Behaviour, *, delivery: faults.Delivery = "whole"
) -> Response:
    return faults.Reply(
        answer.body,
        status_code=answer.status_code,
        media_type=answer.media_type,
        headers=headers,
        delivery=delivery,
        delay=behaviour.latency,
    )


def _filters(query: Query) -> Mapping[str, str]:
    """Return the filters by column; an empty filter has no effect."""
    given = {column: query.params.get(name) for name, column in FILTERS.items()}
    if not all(value is None or isinstance(value, str) for value in given.values()):
        raise Refusal(WRONG_PARAMETER)
    return {column: value for column, value in given.items() if value}


def _as_seen(row: Row, visit: _Visit) -> str:
    record, submitted = row
    changes_after = visit.behaviour.changes_after
    now = visit.now - visit.lag
    return unfinished(record) if changes_after is not None and now < submitted + changes_after else record


def _extra(query: Query, kind: Kind) -> Row:
    """Return a record that is in no range, a different one for each page."""
    at = int(query.start.timestamp())
    voice_id = f"extra-{at}-{query.current}-{query.size}"
    record = complete({"voiceId": voice_id, "submitTime": query.start.isoformat()}, kind=kind, number=1, now=at)
    return json.dumps(record), at


async def _recording(http: HTTPRequest) -> Response:
    return Response(recording(http.query_params.get("id", "")), media_type="audio/wav")
