"""A FastAPI app that serves call records, with one session for each account while the app runs.

    GET /docs                                     the description of the app, for people; /openapi.json for programs
    GET /accounts/{account}/records               the records of a range, at most 10,000: start, end
    GET /accounts/{account}/records.jsonl         all records of a range, one JSON object per line: start, end
    GET /accounts/{account}/records/{voice_id}    one record
    GET /accounts/{account}/count                 the number of records of a range, up to now: start, end

THE APP HAS NO USERS AND NO PERMISSIONS. Its access control, its environment variables and its answers to errors are
those of `web_app.py`, a file beside this one, which imports `live_calls.py`.

    pip install 'itnio-voice[sandbox]' fastapi && python fastapi_app.py
"""

import os
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import AwareDatetime
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from web_app import HOSTS, EndWithClient, RequireReader, answer_error, check_length, check_read, errors_of_arguments

from itnio_voice import ItnioError, Page, VoiceRecord, VoiceSession, find_accounts, open_sessions

MOST_RECORDS = 10_000
"""The largest number of records that are answered as one list."""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    """Open a session for each account when the app starts, and close them when it ends."""
    async with open_sessions(find_accounts(), concurrency=8) as sessions:
        yield {"sessions": sessions}


def session_of(account: str, request: Request) -> VoiceSession:
    """Return the session of the account in the path."""
    session: VoiceSession | None = request.state.sessions.get(account)
    if session is None:
        raise HTTPException(404, "there is no such account")
    return session


def range_of(start: AwareDatetime, end: AwareDatetime) -> tuple[datetime, datetime]:
    """Return the range of a query. FastAPI answers a time without an offset with 422."""
    check_length(start, end)
    return start, end


Session = Annotated[VoiceSession, Depends(session_of)]
Range = Annotated[tuple[datetime, datetime], Depends(range_of)]


async def pages_of(session: Session, times: Range) -> AsyncIterable[Page[VoiceRecord]]:
    """Read the first page before the response begins, so that an error in it is answered with a status.

    A later error ends the connection before the end of the body.
    """
    with errors_of_arguments():
        stream = session.records(*times)
    pages = stream.pages()
    first = await anext(pages, None)
    if first is None:
        check_read(stream)

    async def all_pages() -> AsyncGenerator[Page[VoiceRecord]]:
        page = first
        while page:
            yield page
            page = await anext(pages, None)
        check_read(stream)

    return all_pages()


router = APIRouter(
    prefix="/accounts/{account}",
    responses={404: {"description": "No such account or record"}, 502: {"description": "An error of the vendor's API"}},
)


@router.get("/records")
async def records(session: Session, times: Range) -> list[VoiceRecord]:
    """Return the records of a range as a list."""
    with errors_of_arguments():
        stream = session.records(*times, limit=MOST_RECORDS + 1)
    found = await stream.collect()
    if len(found) > MOST_RECORDS:
        raise HTTPException(422, f"the range has more than {MOST_RECORDS} records: choose a shorter one")
    check_read(stream)
    return found


@router.get("/records.jsonl")
async def all_records(
    pages: Annotated[AsyncIterable[Page[VoiceRecord]], Depends(pages_of)],
) -> AsyncIterable[VoiceRecord]:
    """Return all records of a range as they arrive, as fast as the client reads them."""
    async for page in pages:
        for record in page.records:
            yield record


@router.get("/records/{voice_id}")
async def one_record(session: Session, voice_id: str) -> VoiceRecord:
    """Return the record with an id."""
    with errors_of_arguments():
        return await session.record(voice_id)


@router.get("/count")
async def count(session: Session, times: Range) -> int:
    """Return the number of records of a range, up to the present, with a few requests to the vendor's API."""
    with errors_of_arguments():
        return await session.count(*times)


app = FastAPI(
    title="Call records",
    lifespan=lifespan,
    exception_handlers={ItnioError: answer_error},
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(RequireReader),
        Middleware(EndWithClient),
    ],
)
app.include_router(router)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=10)
