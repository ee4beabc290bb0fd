"""Error reporters, which record all frames' variables, record no secret and no signature."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import attrs
import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from itnio_voice import Credentials, DecodeError, ItnioError, Retry, TransportError, VoiceRecord, VoiceSession
from itnio_voice._client.accounts import FileAccess, find_accounts, read_accounts
from itnio_voice._http.credentials import sign
from itnio_voice._wire.structuring import converter
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

KEY = "bDqJFiq9"
SECRET = "kD83hfGq0ZpLw72nBvTy5RxUe9sMaJc4"
CREDENTIALS = Credentials(KEY, SECRET)
END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=1)
PART = 6
HERE = Path(__file__).parent.parent


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error and all errors reachable from it as a cause, a context or a member of a group."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
            waiting += [each.__cause__, each.__context__, *members]


def frames(traceback: TracebackType | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the locations and variables of a traceback's frames, except those of the tests."""
    while traceback:
        code = traceback.tb_frame.f_code
        if HERE not in Path(code.co_filename).parents:
            yield f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}", dict(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


def shown(value: Any) -> str:
    """Return a value's repr, if it has one, and its bytes as text."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 -- an incomplete object
        return type(error).__name__


def recorded(error: BaseException) -> list[str]:
    """Return what an error reporter records of an error."""
    found: list[str] = []
    for each in chain(error):
        found += [shown(each), str(each), shown(vars(each)), shown(getattr(each, "__notes__", ""))]
        for place, variables in frames(each.__traceback__):
            found += [f"{place}: {name} = {shown(value)}" for name, value in variables.items()]
    return found


def assert_no_secret(error: BaseException, *others: str) -> None:
    """Check that no part of the secret, or of the others, is recorded of an error."""
    now = int(datetime.now(UTC).timestamp())
    signatures = [sign(CREDENTIALS, at).digest for at in range(now - 120, now + 2)]
    parts = {SECRET[at : at + PART] for at in range(len(SECRET) - PART + 1)} | {*signatures, *others}
    leaks = [line for line in recorded(error) if any(part in line for part in parts)]
    assert not leaks, leaks


async def caught(call: Callable[[], Awaitable[Any]], *, seconds: float | None = None) -> BaseException:
    """Return the error that a call raises; with `seconds`, the one that its cancellation after this time raises."""
    errors: list[BaseException] = []

    async def run() -> None:
        try:
            await call()
        except BaseException as error:
            errors.append(error)
            raise

    try:
        with anyio.move_on_after(seconds) if seconds else anyio.CancelScope():
            await run()
    except BaseException:  # noqa: BLE001 -- it is in the list
        assert errors
    return errors[0]


# Construction

MALFORMED = [f"{SECRET}\n", f" {SECRET}", f"{SECRET}\t", f"{SECRET}\ud800", f"\u00a0{SECRET}"]


@pytest.mark.parametrize("secret", MALFORMED, ids=ascii)
def test_a_malformed_secret_is_not_recorded(secret: str) -> None:
    """It raises ValueError, also as the key: a common mistake is to exchange the two."""
    for key, other in ((KEY, secret), (secret, KEY), (secret, secret)):
        with pytest.raises(ValueError, match="copy it again") as error:
            Credentials(key, other)
        assert_no_secret(error.value)
    with pytest.raises(ValueError, match="copy it again") as error:
        attrs.evolve(CREDENTIALS, api_key=f"{KEY}\n")
    assert SECRET not in str(error.value)


def test_a_secret_of_another_type_is_not_recorded() -> None:
    """It is refused, and the error does not contain its value."""
    with pytest.raises(ValueError, match="api_secret must be text") as error:
        Credentials(KEY, SECRET.encode())  # type: ignore[arg-type]
    assert_no_secret(error.value)


@pytest.mark.parametrize("secret", MALFORMED[:3], ids=ascii)
@pytest.mark.parametrize("make", [VoiceSession.from_env, find_accounts])
def test_a_malformed_secret_in_the_environment_is_not_recorded(
    make: Callable[[], Any], secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable."""
    monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
    monkeypatch.setenv("ITNIO_API_KEY", KEY)
    monkeypatch.setenv("ITNIO_API_SECRET", secret)
    with pytest.raises(ValueError, match="ITNIO_API_SECRET has spaces or line ends around it") as error:
        make()
    assert_no_secret(error.value)


def test_an_invalid_base_url_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable of a base URL as well."""
    monkeypatch.setenv("ITNIO_API_KEY", KEY)
    monkeypatch.setenv("ITNIO_API_SECRET", SECRET)
    monkeypatch.setenv("ITNIO_BASE_URL", "https://256.1.1.1")
    with pytest.raises(ValueError, match=r"ITNIO_BASE_URL must be like .*, not https://256\.1\.1\.1") as error:
        VoiceSession.from_env()
    assert_no_secret(error.value)


BASE_URLS = [
    "https://api.itniotech.com/voice\n",
    " https://api.itniotech.com/voice",
    "https://256.1.1.1",
    "https://api.itniotech.com/vo ice",
    "https://api.itniotech.com/\x1b[31m",
    "https://a..b/voice",
    f"https://{'a' * 64}/voice",
    f"https://api.itniotech.com/{'a' * 70_000}",
    "https://[::1/voice",
    "https://api.itniotech.com:0/voice",
    "https://api.itniotech.com?",
    "http://127.0.0.1\\@api.itniotech.com",
    "http://localhost@api.itniotech.com",
    "https://\ud800/voice",
    "",
]


@pytest.mark.parametrize("library", [None, httpx, httpx2])
@pytest.mark.parametrize("url", BASE_URLS, ids=lambda url: ascii(url[:30]))
def test_an_invalid_base_url_is_refused_at_construction(url: str, library: Any) -> None:
    """It is refused when the session is created, and the message is printable."""
    with pytest.raises(ValueError, match=r"^base_url must be like https://api\.itniotech\.com/voice, not") as error:
        VoiceSession(CREDENTIALS, base_url=url, http_client=library and library.AsyncClient())
    assert_no_secret(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
    assert error.value.__context__ is None


# Account files

FILES = [
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\napi_secret = '{SECRET}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET} '",
    f"[eu]\napi_key = '{SECRET}\t'\napi_secret = '{SECRET}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = ['{SECRET}']",
    f"[eu]\napi_key = ['{SECRET}']\napi_secret = '{SECRET}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\nbase_url = 1",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\nbase_url = 'https://256.1.1.1'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\nother = '{SECRET}'",
    f"[eu]\napi_secret = '{SECRET}'",
    f"eu = '{SECRET}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\n[us]\napi_key = '{KEY}'\napi_secret = '{SECRET}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\n[eu]\napi_key = '{KEY}'",
    f"[eu]\napi_key = '{KEY}'\napi_secret = '''{SECRET}\n'''",
    f"[eu]\napi_secret = {SECRET}",
    f"{SECRET}",
    f"[eu]\napi_secret = '{SECRET}'\nx = {'[' * 3000}",
]
NOT_UTF_8 = f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}".encode() + b"\xff'"


@pytest.mark.parametrize("content", [*map(str.encode, FILES), NOT_UTF_8, b"#" * 2**20 + NOT_UTF_8])
def test_a_malformed_accounts_file_is_not_recorded(content: bytes, tmp_path: Path) -> None:
    """The error names the file, for any defect."""
    path = tmp_path / "accounts.toml"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (read_accounts, lambda path: find_accounts(file=path)):
        with pytest.raises(ValueError, match=r"accounts\.toml") as error:
            read(path)
        assert_no_secret(error.value)
        assert str(error.value).isprintable()
        assert error.value.__context__ is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
@example(None)
def test_a_damaged_accounts_file_is_not_recorded(tmp_path: Path, data: Any) -> None:
    """A valid file with one character replaced, or cut at it, leaks nothing either."""
    text = f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\n[us]\napi_key = 'us'\napi_secret = '{SECRET}'\n"
    if data:
        at = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.sampled_from([at, at + 1, len(text)]))
        mark = data.draw(st.sampled_from(["", "\n", "'", '"', "[", "=", " ", "\x1b", "\u202e"]))
        text = text[:at] + mark + text[end:]
    path = tmp_path / "accounts.toml"
    path.write_text(text)
    path.chmod(0o600)
    errors = []
    try:
        read_accounts(path)
    except ValueError as error:
        errors.append(error)

    assert data or not errors
    for failure in errors:
        assert_no_secret(failure)
        assert str(failure).isprintable()


def test_an_accounts_file_that_others_can_read_is_not_recorded(tmp_path: Path) -> None:
    """It is refused before it is read."""
    path = tmp_path / "accounts.toml"
    path.write_text(f"[eu]\napi_key = '{KEY}'\napi_secret = '{SECRET}'\n")
    open_to_all = FileAccess(0o644, 0, 0, is_read_only=True, user=0, groups=frozenset({0}))
    with pytest.raises(ValueError, match="mode 0644") as error:
        read_accounts(path, access=lambda _: open_to_all)
    assert_no_secret(error.value)


# Requests


class ClientError(Exception):
    """An error of the user's own client."""


class FailsToBuild(httpx.AsyncClient):
    """A client that cannot build a request."""

    def build_request(self, *_: Any, **options: Any) -> Any:
        """Raise what httpx raises for an invalid URL."""
        message = f"Invalid URL for {options}"
        raise httpx.InvalidURL(message)


class FailsToSend(httpx.AsyncClient):
    """A client whose error quotes the request."""

    async def send(self, request: Any, **_: Any) -> Any:
        """Fail."""
        message = f"cannot send {dict(request.headers)}"
        raise ClientError(message) from KeyError(request.headers["sign"])


async def cannot_answer(request: httpx.Request) -> httpx.Response:
    """Fail in a transport."""
    headers = dict(request.headers)
    raise RuntimeError(headers["timestamp"])


async def cannot_connect(request: httpx.Request) -> httpx.Response:
    """Fail as a network does, with an error that quotes the request."""
    message = f"refused {dict(request.headers)}"
    raise httpx.ConnectError(message, request=request)


async def fails_as_a_group(request: httpx.Request) -> httpx.Response:
    """Raise a group of several errors."""
    message = "two"
    raise ExceptionGroup(message, [ValueError(request.headers["sign"]), OSError(request.headers["sign"])])


async def never(_: httpx.Request) -> httpx.Response:
    """Never answer."""
    await anyio.sleep_forever()
    raise AssertionError


async def refuse(request: httpx.Request) -> None:
    """Fail in an event hook."""
    raise ClientError(request.headers["sign"])


def client_with(handler: Any, **options: Any) -> httpx.AsyncClient:
    """Return a client whose server is a function."""
    return httpx.AsyncClient(transport=httpx.MockTransport(handler), **options)


CLIENTS: dict[str, tuple[Callable[[], httpx.AsyncClient], type[BaseException]]] = {
    "invalid URL": (FailsToBuild, TransportError),
    "error that quotes the request": (FailsToSend, ClientError),
    "error in a transport": (lambda: client_with(cannot_answer), RuntimeError),
    "network error": (lambda: client_with(cannot_connect), TransportError),
    "group of errors": (lambda: client_with(fails_as_a_group), ExceptionGroup),
    "error in a hook": (lambda: client_with(never, event_hooks={"request": [refuse]}), ClientError),
    "timeout": (lambda: client_with(never), TransportError),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("client", "kind"), CLIENTS.values(), ids=CLIENTS)
async def test_a_failing_clients_request_is_not_recorded(
    client: Callable[[], httpx.AsyncClient], kind: type[BaseException]
) -> None:
    """The client's own errors are raised unchanged, without the frames that hold the request; a note replaces them."""
    async with client() as http_client:
        retry = Retry(attempts=2, wait_initial=0, jitter=0)
        session = VoiceSession(CREDENTIALS, http_client=http_client, retry=retry, timeout=0.01)
        error = await caught(lambda: session.page(START, END))

    assert type(error) is kind or (kind is TransportError and isinstance(error, TransportError))
    assert_no_secret(error)
    if not isinstance(error, ItnioError):
        assert any("raised at" in note for note in error.__notes__)


@pytest.mark.anyio
async def test_an_error_handled_by_the_caller_keeps_its_frames() -> None:
    """An error inside the caller's `except` has the caller's error as its context, which is unchanged."""
    async with client_with(cannot_answer) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client)
        with pytest.raises(RuntimeError) as error:
            try:
                raise LookupError  # noqa: TRY301 -- a caller's own
            except LookupError:
                await session.page(START, END)

    assert isinstance(error.value.__context__, LookupError)
    assert error.value.__context__.__traceback__ is not None


@pytest.mark.anyio
async def test_a_cancelled_request_is_not_recorded() -> None:
    """The same holds for a request that waits inside the HTTP library."""
    async with client_with(never) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client)
        assert_no_secret(await caught(lambda: session.page(START, END), seconds=0.01))


# httpx 0.28 leaves an async generator behind when a request is cancelled, and trio warns about it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.anyio
@pytest.mark.parametrize("library", [None, httpx, httpx2])
@pytest.mark.parametrize("fault", ["hang", "drop", "half_body", "html", "status_503"])
async def test_failures_over_a_socket_record_no_secret(library: Any, fault: Any) -> None:
    """With each HTTP library, a request that is cancelled, times out or fails leaks nothing."""
    retry = Retry(attempts=2, wait_initial=0, jitter=0)
    with Sandbox(accounts={KEY: SECRET}, behaviour=Behaviour(faults=[Fault(fault)])) as sandbox:
        client = library and library.AsyncClient()
        session = VoiceSession(CREDENTIALS, base_url=sandbox.base_url, http_client=client, retry=retry, timeout=0.05)
        async with session:
            assert_no_secret(await caught(lambda: session.page(START, END)))
            assert_no_secret(await caught(lambda: session.page(START, END), seconds=0.02))
            assert_no_secret(await caught(lambda: session.records(START, END).collect(), seconds=0.02))
        if client:
            await client.aclose()


@pytest.mark.parametrize("kind", [asyncio.TimeoutError, asyncio.CancelledError])
def test_cancellations_of_asyncio_record_no_secret(kind: type[BaseException]) -> None:
    """The same holds for a timeout of asyncio, and for the cancellation of a task."""

    async def main() -> BaseException:
        async with client_with(never) as http_client:
            session = VoiceSession(CREDENTIALS, http_client=http_client)
            task = asyncio.ensure_future(session.page(START, END))
            try:
                if kind is asyncio.TimeoutError:
                    await asyncio.wait_for(task, 0.01)
                await asyncio.sleep(0)
                task.cancel()
                await task
            except kind as error:
                return error
            raise AssertionError

    assert_no_secret(asyncio.run(main()))


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["v" * 70_000, "\ud800", "é" * 1001])
async def test_ids_that_are_invalid_in_a_url_are_refused(name: str) -> None:
    """An id that is too long, or is not text, is refused before a request is built."""
    async with VoiceSession(CREDENTIALS, http_client=client_with(never)) as session:
        for call in (lambda: session.record(name), lambda: session.recording_url(name, source="sip")):
            error = await caught(call)
            assert type(error) is ValueError
            assert "of at most 1000 characters" in str(error)
            assert len(str(error)) < 300
            assert_no_secret(error)


@pytest.mark.anyio
async def test_the_longest_ids_are_sent() -> None:
    """An id of 1,000 characters is sent, with any characters."""
    async with client_with(lambda _: httpx.Response(200, json={"status": "0", "data": None})) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client)
        for name in ("é" * 1000, "\U0001f600" * 1000, "/../\n\x00?#" * 100):
            assert "RecordNotFoundError" == type(await caught(lambda name=name: session.record(name))).__name__  # type: ignore[misc]
            error = await caught(lambda name=name: session.recording_url(name, source="sip"))  # type: ignore[misc]
            assert "RecordNotFoundError" == type(error).__name__


# Record classes


@attrs.frozen
class Refuses(VoiceRecord):
    """A record class whose constructor raises."""

    def __attrs_post_init__(self) -> None:
        raise ValueError(self.callee)


@attrs.frozen
class Exits(VoiceRecord):
    """A record class that exits the process."""

    def __attrs_post_init__(self) -> None:
        raise KeyboardInterrupt


@attrs.frozen
class OwnError(VoiceRecord):
    """A record class whose hook raises the library's error, with a cause."""


def _hook(value: Any, _: Any) -> Any:
    message = f"callee is {value['callee']}"
    raise DecodeError(message, value=value) from LookupError(value["callee"])


converter.register_structure_hook(OwnError, _hook)


@pytest.mark.anyio
@pytest.mark.parametrize("of", [Refuses, Exits, OwnError])
async def test_a_failing_record_class_records_no_secret(of: type[VoiceRecord]) -> None:
    """Its error does not show the secret and signature that a server sends back."""

    def echo(request: httpx.Request) -> httpx.Response:
        row = {"voiceId": "v", "callee": f"{SECRET} {request.headers['sign']}"}
        return httpx.Response(200, json={"status": "0", "data": {"total": 1, "records": [row]}})

    async with client_with(echo) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client, retry=Retry(attempts=1))
        error = await caught(lambda: session.page(START, END, of=of))
    assert isinstance(error, KeyboardInterrupt if of is Exits else DecodeError)
    assert_no_secret(error)


@pytest.mark.anyio
async def test_calls_of_a_closed_session_record_no_secret() -> None:
    """Calls in flight end without the frames of their requests."""
    async with client_with(never) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client)
        errors: list[BaseException] = []

        async def read() -> None:
            errors.append(await caught(lambda: session.page(START, END)))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await session.aclose()

    assert isinstance(errors[0], RuntimeError)
    assert_no_secret(errors[0])


# Proxies


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:pass-word@proxy.invalid:http",
        "ftp://user:pass-word@proxy.invalid",
        "http://user:pass-word@[::1",
        "http://user:pass-word@256.1.1.1",
    ],
)
def test_the_password_of_an_invalid_proxy_is_not_recorded(
    name: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password of an invalid proxy URL is not shown."""
    for other in [*os.environ]:
        if other.lower().endswith("_proxy"):
            monkeypatch.delenv(other)
    monkeypatch.setenv(name, proxy)
    with pytest.raises(ValueError, match="check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY") as error:
        VoiceSession(CREDENTIALS)
    assert_no_secret(error.value, "pass-word")


@pytest.mark.anyio
@pytest.mark.parametrize("proxy", ["http://user:pass-word@127.0.0.1:1", "socks5://user:pass-word@127.0.0.1:1"])
async def test_the_password_of_a_failing_proxy_is_not_recorded(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds if the proxy cannot be reached, or a package for it is missing."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")

    async def page() -> None:
        async with VoiceSession(CREDENTIALS, retry=Retry(attempts=1)) as session:
            await session.page(START, END)

    error = await caught(page)
    assert isinstance(error, TransportError | ImportError)
    assert_no_secret(error, "pass-word")


@pytest.mark.anyio
async def test_users_and_passwords_of_quoted_urls_are_redacted() -> None:
    """User names and passwords of all URLs in an error's text are redacted."""

    async def refuse(request: httpx.Request) -> httpx.Response:
        message = "cannot use http://user:pass-word@proxy.example:8080/x"
        raise httpx.ProxyError(message, request=request)

    async with client_with(refuse) as http_client:
        session = VoiceSession(CREDENTIALS, http_client=http_client, retry=Retry(attempts=1))
        error = await caught(lambda: session.page(START, END))
    assert "http://***@proxy.example:8080/x" in str(error)
    assert_no_secret(error, "pass-word")
