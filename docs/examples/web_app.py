"""Call records over HTTP: a web app that keeps one session for each of its accounts, for as long as it lives.

    GET /health                                   is the app there? It asks nobody.
    GET /accounts/{account}/calls                 one page, as the vendor has it: start, end, page
    GET /accounts/{account}/calls.ndjson          all records of a range, a JSON object a line: start, end
    GET /totals                                   calls and cost of each account: start, end

`start` and `end` are times with an offset, such as 2026-10-01T00:00:00Z. A range that ends after the server's time
cannot be read to its end: `calls.ndjson` then ends with an error, and `totals` names the account in `partial`. The
accounts are those of `find_accounts()`: out of the environment, or of the file that ITNIO_ACCOUNTS names.

    pip install 'itnio-voice[sandbox]' && python web_app.py

Starlette, for it is what FastAPI is made of, has nothing to say about records that are typed already, and hands a
response on chunk by chunk; the routes read the same in either.
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from itnio_voice import (
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
    TransportError,
    VoiceRecord,
    VoiceSession,
    merge,
)
from itnio_voice.accounts import find_accounts, open_sessions
from itnio_voice.lines import json_lines
from itnio_voice.windows import Window, gaps, whole_seconds

LOGGER = logging.getLogger("web_app")

STATUSES: dict[type[Exception], HTTPStatus] = {
    RecordNotFoundError: HTTPStatus.NOT_FOUND,
    TimeRangeError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ParameterError: HTTPStatus.UNPROCESSABLE_ENTITY,
    IncompleteWindowError: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerError: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    TransportError: HTTPStatus.BAD_GATEWAY,
    ItnioError: HTTPStatus.BAD_GATEWAY,
}
"""What an error of the library is to a client: of an error's classes, the nearest that is here."""


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
    """Open a session for each account when the app starts, and close them when it ends.

    `concurrency` bounds what one account is asked at once, however many clients there are.
    """
    async with open_sessions(find_accounts(), concurrency=8) as sessions:
        yield {"sessions": sessions}


async def health(_: Request) -> Response:
    """Say that the app is there, whether or not the vendor is: restarting the app would not bring the vendor back."""
    return JSONResponse({"status": "ok"})


async def one_page(request: Request) -> Response:
    """Answer with one page of a range."""
    session, (start, end) = session_of(request), range_of(request)
    with told_to_the_client():
        current = int(request.query_params.get("page", "1"))
        page = await session.page(start, end, current=current)
    records = [record.to_dict() for record in page.records]
    return JSONResponse({"total": page.total, "pages": page.pages, "page": page.current, "records": records})


async def all_records(request: Request) -> Response:
    """Answer with all records of a range, page by page as they come and as fast as the client takes them."""
    session, (start, end) = session_of(request), range_of(request)
    with told_to_the_client():
        stream = session.records(start, end)
    pages = stream.pages()
    # The first page now, so that an error that comes at once is still a status.
    first = await anext(pages, None)
    if first is None:
        check_read(stream, start, end)
    return StreamingResponse(ndjson(first, pages, stream, start, end), media_type="application/x-ndjson")


async def ndjson(
    page: Page[VoiceRecord] | None,
    pages: AsyncIterator[Page[VoiceRecord]],
    stream: RecordStream[VoiceRecord],
    start: datetime,
    end: datetime,
) -> AsyncIterator[bytes]:
    """Yield pages as lines. The next is read when the client has taken this one.

    An error ends the connection before the body is at its end, so no client takes a part for the whole.
    """
    while page:
        yield json_lines(page.records)
        page = await anext(pages, None)
    check_read(stream, start, end)


def check_read(stream: RecordStream[VoiceRecord], start: datetime, end: datetime) -> None:
    """Raise an error if a part of the range lies after the server's time, and so was not read."""
    if parts := unread(stream, start, end):
        message = f"{parts[0]} is not over on the server's clock: end the range earlier"
        raise TimeRangeError(message, window=parts[0])


def unread(stream: RecordStream[VoiceRecord], start: datetime, end: datetime) -> tuple[Window, ...]:
    """Return the parts of a range that a stream has not read."""
    window = whole_seconds(start, end)
    return gaps(window, stream.checkpoint.done) if window else ()


async def totals(request: Request) -> Response:
    """Answer from all accounts, read at once. One that fails is named, and does not hold up the others."""
    start, end = range_of(request)
    sessions: dict[str, VoiceSession] = request.state.sessions
    with told_to_the_client():
        streams = {name: session.records(start, end) for name, session in sessions.items()}
        merged = merge(streams, on_error="collect")
    calls = Counter[str]()
    cost: dict[str, defaultdict[str, Decimal]] = {name: defaultdict(Decimal) for name in sessions}
    try:
        async with merged:
            async for name, record in merged:
                calls[name] += 1
                cost[name][record.currency or "USD"] += record.cost or 0  # the API names a currency where it is another
    except* ItnioError:
        pass  # they are in the answer
    if len(merged.failures) == len(sessions):
        raise next(iter(merged.failures.values()))
    whole = {
        name: {"calls": calls[name], "cost": {currency: str(amount) for currency, amount in cost[name].items()}}
        for name in sessions
        if name not in merged.failures
    }
    failed = {name: type(error).__name__ for name, error in merged.failures.items()}
    # Accounts whose range is not over on the server's clock, with the time up to which the totals go.
    partial = {name: parts[0].start.isoformat() for name in whole if (parts := unread(streams[name], start, end))}
    return JSONResponse({"accounts": whole, "failed": failed, "partial": partial})


def session_of(request: Request) -> VoiceSession:
    """Return the session of the account in the path."""
    session: VoiceSession | None = request.state.sessions.get(request.path_params["account"])
    if session is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such account")
    return session


def range_of(request: Request) -> tuple[datetime, datetime]:
    """Return the range that a query asks for."""
    return time_of(request, "start"), time_of(request, "end")


def time_of(request: Request, name: str) -> datetime:
    """Return a time of a query."""
    text = request.query_params.get(name, "")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # A plus sign in a query is a space, unless it is written as %2B.
        message = f"{name} must be a time such as 2026-10-01T00:00:00Z or 2026-10-01T08:00:00%2B08:00, not {text!r}"
        raise HTTPException(HTTPStatus.BAD_REQUEST, message) from None


@contextmanager
def told_to_the_client() -> Iterator[None]:
    """Tell the client what is wrong with the arguments that came from it."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with the status of an error. Its words are for the log: they may name records and accounts."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    LOGGER.warning("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
    wait = error.retry_after if isinstance(error, HTTPStatusError) else None
    headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
    return JSONResponse({"error": type(error).__name__}, status, headers)


class EndWithClient:
    """Ends what is done for a client when the client has gone. For an app whose requests have no bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app until it has answered, or there is nobody to answer."""
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
            except Exception as error:  # raised below, as itself and in no group
                failure = error
            group.cancel_scope.cancel()
        if failure:
            raise failure


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/accounts/{account}/calls", one_page),
        Route("/accounts/{account}/calls.ndjson", all_records),
        Route("/totals", totals),
    ],
    middleware=[Middleware(EndWithClient)],
    exception_handlers={ItnioError: answer_error},
    lifespan=lifespan,
)

if __name__ == "__main__":
    # Streams that are still running ten seconds after SIGTERM are cut off: no client takes a part for the whole.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=10)
