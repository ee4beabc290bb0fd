"""A web app that serves call records over HTTP, with one session for each account while the app runs.

    GET /health                                   the status of the app; sends no request to the vendor
    GET /accounts/{account}/calls                 one page, as the vendor returns it: start, end, page, size
    GET /accounts/{account}/calls.ndjson          all records of a range, one JSON object per line: start, end
    GET /accounts/{account}/history               the newest records, and a cursor for the ones before: start, cursor
    GET /accounts/{account}/events                new records as they become visible, as server-sent events
    GET /totals                                   calls and cost of each account: start, end

THE APP HAS NO USERS AND NO PERMISSIONS: every client with access can read the records of all accounts. Without
WEB_APP_TOKEN it is a demo that accepts only requests from this machine. With WEB_APP_TOKEN, each request except /health
needs the header `Authorization: Bearer <token>`. Put your own authentication into `may_read`. The app uses plain HTTP:
terminate TLS in front of it. It accepts only the host names in WEB_APP_HOSTS, separated by commas, by default those of
this machine.

`start` and `end` are times with an offset, such as 2026-10-01T00:00:00Z. A range that ends after the server's time
cannot be read to its end: `calls.ndjson` then ends with an error, and `totals` names the account in `partial`. The
accounts are those of `find_accounts()`: from the environment, or from the file that ITNIO_ACCOUNTS names.

The app signs the cursors of `history` with WEB_APP_KEY: any instance with the same key continues from them. Without
that variable, the key is a random one, and cursors are valid until the app ends.

`events` is the work of `live_calls.py`, a file beside this one. WEB_APP_POLL_SECONDS is the time between two looks for
new records of an account that has clients, by default 30.

    pip install 'itnio-voice[sandbox]' && python web_app.py

The app uses Starlette, which sends a streaming response chunk by chunk. `fastapi_app.py` is a FastAPI app.
"""

import hmac
import ipaddress
import json
import logging
import os
import secrets
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import uvicorn
from live_calls import EventResponse, LiveCalls, poll_seconds
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from itnio_voice import (
    Checkpoint,
    HTTPStatusError,
    IncompleteWindowError,
    ItnioError,
    Page,
    ParameterError,
    RecordNotFoundError,
    RecordStream,
    RequestTimeoutError,
    ServerError,
    TimeRangeError,
    VoiceSession,
    find_accounts,
    merge,
    open_sessions,
)
from itnio_voice.outputs.text import json_lines

LOGGER = logging.getLogger("web_app")

TOKEN = os.environ.get("WEB_APP_TOKEN", "")
KEY = os.environ.get("WEB_APP_KEY", "").encode() or secrets.token_bytes()
HOSTS = os.environ.get("WEB_APP_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

LONGEST_RANGE = timedelta(days=62)
"""The vendor keeps records for two months."""
LARGEST_PAGE = 100
DEEPEST_RECORD = 10_000
"""The largest position of a page's last record in its range: deep pages take the vendor's server longer."""
HISTORY_RECORDS = 100
"""The minimum number of records of a page of the history, if there are more."""
LONGEST_TIME = 40
"""The number of characters of an invalid value that an error shows."""

STATUSES: dict[type[Exception], HTTPStatus] = {
    RecordNotFoundError: HTTPStatus.NOT_FOUND,
    TimeRangeError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ParameterError: HTTPStatus.UNPROCESSABLE_ENTITY,
    IncompleteWindowError: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerError: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    ItnioError: HTTPStatus.BAD_GATEWAY,
}
"""The status for an error of the library: that of its nearest base class in this table."""

RANGE_HINT = "the range is too long, older than the records that the vendor keeps, or ends in the future"
"""What the client can change if the vendor refuses a range."""


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
    """Open a session for each account when the app starts, and close them when it ends.

    `concurrency` limits the requests in flight of each account, for any number of clients.
    """
    every = poll_seconds()
    async with open_sessions(find_accounts(), concurrency=8) as sessions, anyio.create_task_group() as group:
        live = {name: LiveCalls(group, partial(each.follow, every=every)) for name, each in sessions.items()}
        yield {"sessions": sessions, "live": live}
        group.cancel_scope.cancel()


async def health(_: Request) -> Response:
    """Return the status of the app. It is independent of the vendor, because a restart would not help then."""
    return JSONResponse({"status": "ok"})


async def one_page(request: Request) -> Response:
    """Return one page of a range."""
    session, (start, end) = session_of(request), range_of(request)
    current = number_of(request, "page", default=1, maximum=DEEPEST_RECORD)
    size = number_of(request, "size", default=LARGEST_PAGE, maximum=LARGEST_PAGE)
    if current * size > DEEPEST_RECORD:
        message = f"page * size must be at most {DEEPEST_RECORD}, not {current * size}: choose a shorter range"
        raise HTTPException(HTTPStatus.BAD_REQUEST, message)
    with errors_of_arguments():
        page = await session.page(start, end, current=current, page_size=size)
    records = [record.to_dict() for record in page.records]
    return JSONResponse({"total": page.total, "pages": page.pages, "page": page.current, "records": records})


async def all_records(request: Request) -> Response:
    """Return all records of a range, page by page as they arrive and as fast as the client reads them."""
    session, (start, end) = session_of(request), range_of(request)
    with errors_of_arguments():
        stream = session.records(start, end)
    pages = stream.pages()
    # The first page is read before the response begins, so that an error in it is answered with a status.
    first = await anext(pages, None)
    if first is None:
        check_read(stream)
    return StreamingResponse(ndjson(first, pages, stream), media_type="application/x-ndjson")


async def ndjson(page: Page | None, pages: AsyncIterator[Page], stream: RecordStream) -> AsyncIterator[bytes]:
    """Yield pages as lines. The next page is read when the client has received this one.

    An error ends the connection before the end of the body, so the client sees an error and not a shorter answer.
    """
    while page:
        yield json_lines(page.records)
        page = await anext(pages, None)
    check_read(stream)


def check_read(stream: RecordStream) -> None:
    """Raise an error if a part of the range is after the server's time and was not read."""
    if parts := stream.unread:
        message = f"{parts[0]} is not over on the server's clock: end the range earlier"
        raise TimeRangeError(message, window=parts[0])


async def history(request: Request) -> Response:
    """Return the newest records and, unless they are the last ones, a cursor for those before in `next`.

    The records are those of complete windows. The app keeps no state between requests: the cursor has the end of the
    range, which is the time of the first request, and the checkpoint, which is bound to the account and the range.
    """
    session, start, cursor = session_of(request), time_of(request, "start"), request.query_params.get("cursor")
    with errors_of_arguments():
        end, checkpoint = (datetime.now(UTC), None) if cursor is None else read_cursor(cursor)
        check_length(start, end)
        stream = session.records(start, end, newest_first=True, resume=checkpoint, expired="skip")
    answer: dict[str, Any] = {"records": []}
    async for batch in stream.windows():
        answer["records"] += [record.to_dict() for record in batch.records]
        if len(answer["records"]) >= HISTORY_RECORDS:
            answer["next"] = cursor_of(end, batch.checkpoint)
            break
    if stream.skipped:
        answer["expired"] = [str(window) for window in stream.skipped]
    return JSONResponse(answer)


async def events(request: Request) -> Response:
    """Return the records that become visible from now on, as server-sent events without an end."""
    session_of(request)  # an unknown account is answered with 404
    return EventResponse(request.state.live[request.path_params["account"]])


def cursor_of(end: datetime, checkpoint: Checkpoint) -> str:
    """Return a signed cursor. Clients can read it, but not change it."""
    content = json.dumps([end.isoformat(), str(checkpoint)]).encode()
    text = urlsafe_b64encode(zlib.compress(content)).decode()
    return f"{text}.{signature_of(text)}"


def read_cursor(cursor: str) -> tuple[datetime, Checkpoint]:
    """Return the content of a cursor; one that was not signed with this key is answered with 400."""
    text, _, signature = cursor.rpartition(".")
    if not hmac.compare_digest(signature.encode(), signature_of(text).encode()):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "cursor is not valid any more: begin again without it")
    end, checkpoint = json.loads(zlib.decompress(urlsafe_b64decode(text)))
    return datetime.fromisoformat(end), Checkpoint.parse(checkpoint)


def signature_of(text: str) -> str:
    """Return the signature of a cursor's content."""
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


async def totals(request: Request) -> Response:
    """Return the totals of all accounts, which are read at the same time. Failed accounts are listed in `failed`."""
    start, end = range_of(request)
    sessions: dict[str, VoiceSession] = request.state.sessions
    with errors_of_arguments():
        streams = {name: session.records(start, end) for name, session in sessions.items()}
        merged = merge(streams, on_error="collect")
    calls = Counter[str]()
    cost: dict[str, defaultdict[str, Decimal]] = {name: defaultdict(Decimal) for name in sessions}
    try:
        async with merged:
            async for name, record in merged:
                calls[name] += 1
                cost[name][record.currency or "USD"] += record.cost or 0  # the API omits the currency for US dollars
    except* ItnioError:
        pass  # the response lists them
    if len(merged.failures) == len(sessions):
        raise next(iter(merged.failures.values()))
    complete = {
        name: {"calls": calls[name], "cost": {currency: str(amount) for currency, amount in cost[name].items()}}
        for name in sessions
        if name not in merged.failures
    }
    failed = {name: type(error).__name__ for name, error in merged.failures.items()}
    # Accounts whose range is not over on the server's clock, with the end of the range that the totals cover.
    partial = {name: parts[0].start.isoformat() for name in complete if (parts := streams[name].unread)}
    return JSONResponse({"accounts": complete, "failed": failed, "partial": partial})


def session_of(request: Request) -> VoiceSession:
    """Return the session of the account in the path."""
    session: VoiceSession | None = request.state.sessions.get(request.path_params["account"])
    if session is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such account")
    return session


def range_of(request: Request) -> tuple[datetime, datetime]:
    """Return the range of a query; a range that is too long is answered with 400."""
    start, end = time_of(request, "start"), time_of(request, "end")
    check_length(start, end)
    return start, end


def check_length(start: datetime, end: datetime) -> None:
    """Answer a range that is too long with 400."""
    if end - start > LONGEST_RANGE:
        message = f"the range must be at most {LONGEST_RANGE.days} days, not {(end - start).days}"
        raise HTTPException(HTTPStatus.BAD_REQUEST, message)


def time_of(request: Request, name: str) -> datetime:
    """Return the time of a query parameter."""
    text = request.query_params.get(name, "")
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.utcoffset() is not None:
            return at.astimezone(UTC)
    # In a query, a plus sign means a space; %2B is a plus sign.
    example = "2026-10-01T00:00:00Z or 2026-10-01T08:00:00%2B08:00"
    message = f"{name} must be a time with an offset, such as {example}, not {text[:LONGEST_TIME]!r}"
    raise HTTPException(HTTPStatus.BAD_REQUEST, message)


def number_of(request: Request, name: str, *, default: int, maximum: int) -> int:
    """Return the number of a query parameter, from 1 to `maximum`."""
    text = request.query_params.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) else 0
    if not 1 <= number <= maximum:
        message = f"{name} must be a number from 1 to {maximum}, not {text[:LONGEST_TIME]!r}"
        raise HTTPException(HTTPStatus.BAD_REQUEST, message)
    return number


@contextmanager
def errors_of_arguments() -> Iterator[None]:
    """Answer a wrong argument of the client with 400 and the text of the error."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with the status of an error. Its text is only logged, because it may name records and accounts."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    LOGGER.warning("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
    wait = error.retry_after if isinstance(error, HTTPStatusError) else None
    headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
    hint = {"message": RANGE_HINT} if isinstance(error, TimeRangeError) else {}
    return JSONResponse({"error": type(error).__name__, **hint}, status, headers)


def may_read(request: Request) -> bool:
    """Return whether a request may read the records of all accounts. Put your own authentication here.

    If a token is set, the request must have it. Otherwise the request must come from this machine and not through a
    proxy, because a proxy on this machine could forward requests from anywhere.
    """
    if TOKEN:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), TOKEN.encode())
    if request.client is None or {"forwarded", "x-forwarded-for"} & {*request.headers}:
        return False
    with suppress(ValueError):
        return ipaddress.ip_address(request.client.host).is_loopback
    return False


class RequireReader:
    """Refuses requests that may not read records, except for `/health`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app if the request may read records."""
        app = self._app
        if scope["type"] == "http" and scope["path"] != "/health" and not may_read(Request(scope)):
            words = "a token is needed: send it as Authorization: Bearer <token>"
            if not TOKEN:
                words = "without WEB_APP_TOKEN, this app answers only the machine that it runs on"
            app = PlainTextResponse(words, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        await app(scope, receive, send)


class EndWithClient:
    """Cancels the work for a client that has disconnected. Use it only for apps whose requests have no bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app until it has answered or the client has disconnected."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        failure: Exception | None = None
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                await self._app(scope, receive, send)
            except Exception as error:  # raised below, outside of the task group and its ExceptionGroup
                failure = error
            group.cancel_scope.cancel()
        if failure:
            raise failure


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/accounts/{account}/calls", one_page),
        Route("/accounts/{account}/calls.ndjson", all_records),
        Route("/accounts/{account}/history", history),
        Route("/accounts/{account}/events", events),
        Route("/totals", totals),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(RequireReader),
        Middleware(EndWithClient),
    ],
    exception_handlers={ItnioError: answer_error},
    lifespan=lifespan,
)

if __name__ == "__main__":
    # Streams that are still running ten seconds after SIGTERM are cancelled in the middle of a chunked body, so the
    # client sees an error and not a shorter answer.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=10)
