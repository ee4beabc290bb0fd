"""The requests of a probe: counted, timed and paced."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timezone
from functools import partial
from typing import TypeVar

import anyio
import attrs
import httpx
import msgspec

from ..._http.credentials import Credentials
from ..._http.request import APIRequest
from ..._http.retry import Retry, http_date
from ..._http.transport import Transport
from ..._model.errors import (
    AuthenticationError,
    IPRestrictedError,
    ItnioError,
    ParameterError,
    ProtocolError,
    TimestampExpiredError,
    TransportError,
    UserLockedError,
)
from ..._model.records import CallRecord
from ..._model.windows import WIRE_ZONE
from ..._wire.endpoints import endpoint_of
from ..._wire.pages import LARGEST_PAGE
from .answers import UNKNOWN_ID, Answer, Row, read_answer, read_missing

__all__ = ["Exchange", "LimitReachedError"]

T = TypeVar("T")

_FINAL = (AuthenticationError, IPRestrictedError, UserLockedError, TimestampExpiredError)
"""Errors that end a probe: every further request would have the same one."""
_MOST_FAILURES = 3
_RETRY = Retry(attempts=2, total=60.0, wait_initial=1.0)
_ONCE = Retry(attempts=1)


class LimitReachedError(Exception):
    """The maximum number of requests has been sent."""


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """The requests of a probe to one account, at most `rate` per second (None for no maximum).

    A request that fails is sent once more; the third failure in a row is raised. No question is started after `limit`
    requests. `clock` returns this machine's time in Unix seconds, and `timeout` is in seconds.
    """

    credentials: Credentials
    client: httpx.AsyncClient
    base_url: str
    of: type[CallRecord]
    rate: float | None
    limit: int
    timeout: float
    clock: Callable[[], float]

    sent: int = attrs.field(default=0, init=False)
    answers: list[Answer] = attrs.field(factory=list[Answer], init=False)
    """The pages so far."""
    latencies: list[float] = attrs.field(factory=list[float], init=False)
    """Seconds from a request to the headers of its answer."""
    compressed: bool = attrs.field(default=False, init=False)
    _earliest: float = attrs.field(default=float("-inf"), init=False)
    _latest: float = attrs.field(default=float("inf"), init=False)
    _transport: Transport = attrs.field(init=False)
    _began: tuple[float, float] = attrs.field(default=(0.0, 0.0), init=False)
    _failures: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._transport = self._new_transport(_RETRY, self.clock)
        hooks = self.client.event_hooks
        self.client.event_hooks = {
            "request": [*hooks["request"], self._on_request],
            "response": [*hooks["response"], self._on_response],
        }

    def _new_transport(self, retry: Retry, clock: Callable[[], float]) -> Transport:
        return Transport(
            credentials=self.credentials,
            base_url=self.base_url,
            client=self.client,
            concurrency=1,
            rate=self.rate,
            timeout=self.timeout,
            retry=retry,
            clock=clock,
        )

    async def _on_request(self, _: httpx.Request) -> None:
        self.sent += 1
        self._began = anyio.current_time(), self.clock()

    async def _on_response(self, response: httpx.Response) -> None:
        began, sent = self._began
        self.latencies.append(anyio.current_time() - began)
        self.compressed |= "gzip" in response.headers.get("content-encoding", "")
        date = http_date(response.headers.get("date"))
        if date is not None:
            # The server wrote it after the request was sent and before the answer was received, in whole seconds.
            self._earliest = max(self._earliest, date - self.clock())
            self._latest = min(self._latest, date + 1 - sent)

    @property
    def offset(self) -> float | None:
        """Seconds by which the server's clock is ahead, 0 if that agrees with the answers.

        It is None if no answer has a `Date`, or if they contradict each other by more than their second.
        """
        if not -1 <= self._latest - self._earliest < float("inf"):
            return None
        return 0.0 if self._earliest <= 0 <= self._latest else (self._earliest + self._latest) / 2

    def now(self) -> int:
        """Return the server's time in whole Unix seconds."""
        return int(self.clock() + (self.offset or 0.0))

    @property
    def rows(self) -> Iterator[Row]:
        """The records of all pages, also repeated ones."""
        return (row for answer in self.answers for row in answer.rows)

    async def page(
        self, start: int, end: int, *, current: int = 1, size: int = LARGEST_PAGE, zone: timezone = WIRE_ZONE
    ) -> Answer:
        """Request a page of a range in Unix seconds, whose times are written with the offset of `zone`.

        Raises:
            LimitReachedError: if all requests have been sent.
            ItnioError: if further requests would fail too.
        """
        first, last = (datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat() for at in (start, end))
        params = {"strTime": first, "endTime": last}
        body = msgspec.json.encode({"current": current, "size": size, "params": params})
        request = APIRequest("POST", endpoint_of(self.of).query, body)
        result = await self._send(request, lambda answer: read_answer(answer, current, size, self.of))
        if isinstance(result, ItnioError):
            return Answer(current, size, error=result)
        self.answers.append(result)
        return result

    async def missing_record(self) -> str | None:
        """Request a record that does not exist; return the answer as `Behaviour.missing_record`, None for another one.

        Raises:
            LimitReachedError, ItnioError: as for `page`.
        """
        result = await self._send(self._unknown_record, self._read_missing)
        if isinstance(result, ItnioError):
            return "parameter" if isinstance(result, ParameterError) else None
        return result

    async def accepts_timestamp(self, ahead: float) -> bool | None:
        """Send one request whose timestamp is `ahead` seconds from the server's clock, and return whether it is valid.

        None means that the answer does not say.

        Raises:
            LimitReachedError, ItnioError: as for `page`.
        """
        shift = (self.offset or 0.0) + ahead
        transport = self._new_transport(_ONCE, lambda: self.clock() + shift)
        pause = 1 / self.rate if self.rate else 0.0  # the two transports do not know of each other
        await anyio.sleep(pause)
        result = await self._send(self._unknown_record, self._read_missing, transport, final=())
        await anyio.sleep(pause)
        if isinstance(result, TimestampExpiredError):
            return False
        # A fault, or an answer that cannot be read, may hide a refusal.
        return None if isinstance(result, ItnioError) and not isinstance(result, ParameterError) else True

    @property
    def _unknown_record(self) -> APIRequest:
        return APIRequest("GET", endpoint_of(self.of).item_path + UNKNOWN_ID)

    @property
    def _read_missing(self) -> Callable[[bytes], str | None]:
        return partial(read_missing, of=self.of)

    async def _send(
        self,
        request: APIRequest,
        read: Callable[[bytes], T],
        transport: Transport | None = None,
        final: tuple[type[ItnioError], ...] = _FINAL,
    ) -> T | ItnioError:
        """Send a request; return the result of `read`, or the error if another request may have another answer."""
        if self.sent >= self.limit:
            raise LimitReachedError
        try:
            result = await (transport or self._transport).send(request, lambda body, _: read(body))
        except ItnioError as error:
            self._failures = self._failures + 1 if isinstance(error, TransportError | ProtocolError) else 0
            if isinstance(error, final) or self._failures >= _MOST_FAILURES:
                raise
            return error
        self._failures = 0
        return result
