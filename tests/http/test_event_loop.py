"""A session and a merge belong to one event loop: another one is refused at the first call."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs
import httpx
import pytest

from itnio_voice import Credentials, Page, VoiceRecord, VoiceSession, merge

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=1)
REFUSED = "this VoiceSession belongs to another event loop: make one in each"
BACKENDS = ["asyncio", "trio"]


def in_thread(call: Callable[[], Any]) -> BaseException | None:
    """Run a function in a new thread, and return the error that it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 -- it is returned
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@attrs.frozen
class Server:
    """A server that is a function, so that no connection stays open."""

    requests: list[httpx.Request] = attrs.field(factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer with an empty page."""
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        return httpx.Response(200, json={"status": "0", "data": {"total": 0, "records": []}})

    def session(self) -> VoiceSession:
        """Return a session that no event loop has used yet."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return VoiceSession(Credentials("key", "secret"), http_client=client)


@pytest.fixture
def server() -> Server:
    """Return a server."""
    return Server()


@pytest.fixture
def session(server: Server) -> VoiceSession:
    """Return a session on the server."""
    return server.session()


async def read(session: VoiceSession) -> Page[VoiceRecord]:
    """Read a page."""
    return await session.page(START, END)


CALLS: dict[str, Callable[[VoiceSession], Awaitable[Any]]] = {
    "page": lambda session: session.page(START, END),
    "record": lambda session: session.record("1"),
    "records": lambda session: session.records(START, END).collect(),
    "aclose": lambda session: session.aclose(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("again", BACKENDS)
def test_a_second_event_loop_is_refused(
    session: VoiceSession, server: Server, backend: str, again: str, call: Any
) -> None:
    """A session is used in one `anyio.run`: in a second one, it raises and sends nothing."""
    anyio.run(read, session, backend=backend)
    with pytest.raises(RuntimeError, match=REFUSED):
        anyio.run(call, session, backend=again)

    assert 1 == len(server.requests)


def test_a_second_asyncio_run_is_refused(session: VoiceSession) -> None:
    """The same holds for `asyncio.run` and `async with`."""

    async def main() -> None:
        async with session:
            await session.page(START, END)
            closing.append(session)
            if len(closing) == 1:
                return

    closing: list[VoiceSession] = []
    asyncio.run(main())
    with pytest.raises(RuntimeError, match=REFUSED):
        asyncio.run(main())


def test_a_session_may_be_created_before_the_event_loop(session: VoiceSession) -> None:
    """A session that has sent nothing belongs to no event loop yet."""

    async def main() -> None:
        async with session:
            await session.page(START, END)

    asyncio.run(main())
    asyncio.run(session.aclose())  # the second call does nothing


@pytest.mark.anyio
async def test_an_event_loop_in_another_thread_is_refused(server: Server) -> None:
    """An event loop in another thread is refused while the first one runs; `anyio.from_thread` is the way."""
    async with server.session() as session, anyio.create_task_group() as group:
        group.start_soon(read, session)
        await anyio.wait_all_tasks_blocked()
        error = await anyio.to_thread.run_sync(in_thread, lambda: anyio.run(read, session))
        closing = await anyio.to_thread.run_sync(in_thread, lambda: anyio.run(session.aclose))
        page = await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(read, session))

    assert isinstance(error, RuntimeError)
    assert isinstance(closing, RuntimeError)
    assert "anyio.from_thread.run()" in str(error)
    assert 0 == page.total


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_merge_of_sessions_of_two_event_loops_fails(server: Server, backend: str) -> None:
    """The stream of the session that another event loop has used fails, and the merge with it."""
    one, other = server.session(), server.session()
    anyio.run(read, other, backend=backend)

    async def main() -> None:
        async with merge({"a": one.records(START, END), "b": other.records(START, END)}) as merged:
            async for _ in merged:
                pass

    with pytest.raises(RuntimeError, match=REFUSED):
        anyio.run(main, backend=backend)


@pytest.mark.anyio
async def test_a_merge_is_not_readable_in_another_thread() -> None:
    """It raises: it neither waits forever nor wakes tasks of another event loop."""

    async def numbers(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        await anyio.sleep_forever()

    for count in (0, 5):
        async with merge({"a": numbers(count)}, buffer=1) as merged:
            await anyio.wait_all_tasks_blocked()
            error = await anyio.to_thread.run_sync(in_thread, lambda: anyio.run(anext, merged))

            assert isinstance(error, RuntimeError)
            assert "this merge belongs to another event loop" in str(error)
