"""No error, repr or log record contains a secret or a signature, whatever a server sends back."""

import copy
import gc
import json
import logging
import pickle
import random
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import httpx2
import pytest

from itnio_voice import (
    APIError,
    Credentials,
    DecodeError,
    ItnioError,
    Retry,
    TimeRangeError,
    TransportError,
    VoiceSession,
    Window,
)
from itnio_voice._http.credentials import sign
from itnio_voice._model import errors as tree
from itnio_voice._model.printable import LONGEST
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import QUICK

pytestmark = pytest.mark.anyio

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=20)
KEY = "bDqJFiq9"
SECRETS = {
    "the vendor's": "7bz1lzh9",
    "long": "kD83hfGq0ZpLw72nBvTy5RxUe9sMaJc4",
    "letters": "correcthorsebatterystaple",
    "digits": "3141-5926-5358-9793",
    "escaped": "p\"a\\ss'w/o r&d<%41>",
    "other scripts": "пароль-密码-contraseña",
    "short": "q7x?",
}
TELLING = 6

Echo = Callable[[httpx.Request, str], httpx.Response]
"""Builds a server's answer from a request and a secret text."""


def refusal(status: str, reason: Any) -> httpx.Response:
    """Return the vendor's refusal."""
    return httpx.Response(200, json={"status": status, "reason": reason})


def record(**fields: Any) -> httpx.Response:
    """Return a page with one record."""
    return httpx.Response(200, json={"status": "0", "data": {"total": 1, "records": [{"voiceId": "v"} | fields]}})


ECHOES: dict[str, Echo] = {
    "status": lambda _, secret: refusal(secret, "why"),
    "reason": lambda _, secret: refusal("-1", f"bad {secret}!"),
    "reason in capitals": lambda _, secret: refusal("-22", secret.upper()),
    "reason as a list": lambda _, secret: refusal("-99", [secret, {"a": secret}]),
    "web page": lambda _, secret: httpx.Response(200, text=f"<p>{secret}</p>"),
    "escaped in a web page": lambda _, secret: httpx.Response(502, text=quote(secret, safe="")),
    "JSON cut short": lambda _, secret: httpx.Response(200, text=json.dumps({"status": "0", "data": secret})[:-2]),
    "not UTF-8": lambda _, secret: httpx.Response(200, content=b"\xff" + secret.encode() + b"\xff"),
    "teapot": lambda _, secret: httpx.Response(418, text=secret),
    "all headers": lambda request, _: httpx.Response(418, text=f"{dict(request.headers)}"),
    "an amount": lambda _, secret: record(cost=f"{secret}!"),
    "a time": lambda _, secret: record(submitTime=secret),
    "a duration": lambda _, secret: record(callDuration=[secret]),
    "a text": lambda _, secret: record(callee={secret: secret}),
    "an id": lambda _, secret: record(voiceId=secret, cost="much"),
    "a record": lambda _, secret: httpx.Response(200, json={"status": "0", "data": {"total": 1, "records": [secret]}}),
    "records": lambda _, secret: httpx.Response(200, json={"status": "0", "data": {"total": 1, "records": secret}}),
    "data": lambda _, secret: httpx.Response(200, json={"status": "0", "data": secret}),
    "a number of pages": lambda _, secret: httpx.Response(200, json={"status": "0", "data": {"total": f"{secret}!"}}),
    "a header": lambda _, secret: httpx.Response(503, headers={"x-echo": quote(secret)}),
    "a place to go": lambda _, secret: httpx.Response(302, headers={"location": f"https://{quote(secret, safe='')}/"}),
}


def session_with(answer: Callable[[httpx.Request], httpx.Response], secret: str, **options: Any) -> VoiceSession:
    """Return a session whose server is a function."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    options = {"retry": Retry(attempts=2, wait_initial=0, jitter=0)} | options
    return VoiceSession(Credentials(KEY, secret), http_client=client, **options)


def full_text(error: BaseException | None) -> str:
    """Return the text of an error and its causes, with the variables that a traceback may print."""
    text = ""
    while error is not None:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [frame for frame in shown.stack if "itnio_voice" in frame.filename]
        text += "".join(shown.format_exception_only()) + repr([(frame.line, frame.locals) for frame in ours])
        text += "".join(traceback.TracebackException.from_exception(error).format())
        text += repr(error) + repr(vars(error)) + repr(getattr(error, "__notes__", ""))
        assert not hasattr(error, "request")
        error = error.__cause__ or error.__context__
    return text


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return the text of all log records, and their fields such as `itnio.request`."""
    carried = [[value for name, value in vars(entry).items() if "." in name] for entry in caplog.records]
    return caplog.text + repr(carried)


def assert_no_secret(shown: str, *secrets: str) -> None:
    """Check that a text has no six consecutive characters of a secret, or a complete shorter one.

    Object addresses, measured seconds and the milliseconds of a signature may contain such digits by chance.
    """
    shown = re.sub(r" at 0x[0-9a-f]+|\d+\.\d+|\b\d{13}\b", "", shown)
    for secret in secrets:
        length = min(len(secret), TELLING)
        parts = {secret[at : at + length].lower() for at in range(len(secret) - length + 1)}
        found = [part for part in parts if part in shown.lower()]
        assert not found, f"{found} of {secret!r} is shown: {shown}"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize(
    ("secret", "of_secret"),
    [*((secret, True) for secret in SECRETS.values()), (SECRETS["long"], False)],
    ids=[*SECRETS, "signature"],
)
async def test_no_secret_in_an_error(
    echo: Echo, secret: str, of_secret: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The same holds for a server that sends the signature or the secret back."""
    caplog.set_level(logging.DEBUG)
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["sign"])
        return echo(request, secret if of_secret else sent[-1])

    session = session_with(answer, secret)
    shown = ""
    calls: list[Callable[[], Any]] = [
        lambda: session.page(START, END),
        lambda: session.records(START, END).collect(),
        lambda: session.record("7"),
        lambda: session.recording_url("7", source="sip"),
    ]
    failures = 0
    for call in calls:
        try:
            await call()
        except ItnioError as error:
            failures += 1
            shown += full_text(error)
    shown += logged(caplog) + repr(session) + repr(vars(session)) + repr(session.records(START, END))

    assert failures
    assert_no_secret(shown, secret, *sent)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("before", [*range(0, 130, 3), *range(150, 202, 3)])
async def test_a_cut_text_contains_no_part_of_a_secret(before: int) -> None:
    """An error's texts are cut short: the rest contains no part of a secret, for any position of the cut."""
    secret = SECRETS["long"]
    for needle in (secret, sign(Credentials(KEY, secret), 0).digest):
        filler = "ab " * (before // 3)
        answers = [
            refusal("-1", filler + needle),
            refusal(filler[:39] + needle, "why"),
            httpx.Response(200, text=filler + needle),
            record(cost=filler + needle),
            record(**{filler + needle: [[]] * 50, "cost": "x"}),
        ]
        for answer in answers:
            session = session_with(lambda _, answer=answer: answer, secret)  # type: ignore[misc]
            session._transport.clock = lambda: 0.0
            with pytest.raises(ItnioError) as caught:
                await session.page(START, END)

            assert_no_secret(full_text(caught.value), needle)


@pytest.mark.parametrize(("secret", "message"), [("s", "-25: why"), ("-2", r"\*\*\*5: why"), ("why", r"-25: \*\*\*")])
async def test_a_short_secret_does_not_change_the_error(secret: str, message: str) -> None:
    """Redacting a secret does not change the error's type or status, for any secret."""
    session = session_with(lambda _: refusal("-25", "why"), secret)
    with pytest.raises(TimeRangeError, match=message) as caught:
        await session.page(START, END)

    assert Window(START, END) == caught.value.window
    assert caught.value.transient is False


@pytest.mark.parametrize(
    "reason",
    ["Out of time range", "Parameter exception: size 1000", "Port program unusual", "系统错误", "retry in 5 s, please"],
)
async def test_ordinary_words_are_shown(reason: str) -> None:
    """The vendor's reason is reported unchanged, in any script, with short numbers."""
    session = session_with(lambda _: refusal("-99", reason), "7bz1lzh9")
    with pytest.raises(APIError) as caught:
        await session.page(START, END)

    assert ("-99", reason) == (caught.value.status, caught.value.reason)
    assert reason in str(caught.value)


async def test_ids_and_keys_are_not_quoted() -> None:
    """Long numbers, and texts that look like an id or a key, are omitted when an error quotes an answer."""
    session = session_with(lambda _: refusal("-99", "call 8613800138000 by 0af31b9c44d2e871 failed"), "7bz1lzh9")
    with pytest.raises(APIError, match="call … by … failed"):
        await session.page(START, END)


async def test_no_secret_in_a_network_error(caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP library's errors hold the request; ours do not, and neither do our frames that they passed."""
    caplog.set_level(logging.DEBUG)
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["sign"])
        message = "refused"
        raise httpx.ConnectError(message, request=request)

    session = session_with(answer, SECRETS["long"])
    with pytest.raises(TransportError, match="ConnectError: refused") as caught:
        await session.page(START, END)
    shown = full_text(caught.value) + logged(caplog)

    assert "Signature(" in shown
    assert_no_secret(shown, SECRETS["long"], *sent)


@pytest.mark.parametrize("library", [None, httpx, httpx2])
async def test_no_secret_over_a_socket(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, a walk through faults and refusals leaves no part of a secret in any record."""
    caplog.set_level(logging.DEBUG)
    secret = SECRETS["long"]
    kinds: list[Any] = ["status_503", "html", "half_body", "drop", "truncated", "system_error"]
    behaviour = Behaviour(clock_skew=7200, faults=[Fault(kind, 0.05) for kind in kinds])
    with Sandbox(records=300, accounts={KEY: secret}, behaviour=behaviour) as sandbox:
        client = library.AsyncClient() if library else None
        async with VoiceSession(
            Credentials(KEY, secret),
            base_url=sandbox.base_url,
            http_client=client,
            retry=attrs.evolve(QUICK, attempts=12),
        ) as session:
            await session.records(START, END, page_size=10).collect()
            sandbox.behaviour = Behaviour(locked=True)
            with pytest.raises(ItnioError) as caught:
                await session.page(START, END)
        if client:
            await client.aclose()
        times = range(int(END.timestamp()) - 60, int(datetime.now(UTC).timestamp()) + 7300)
        signatures = {sign(Credentials(KEY, secret), at).digest for at in times}
    shown = full_text(caught.value) + logged(caplog)

    assert "itnio" in shown
    assert_no_secret(shown, secret)
    assert not [digest for digest in signatures if digest in shown]


async def test_no_secret_in_a_repr() -> None:
    """The variables of objects that hold a secret do not show it either."""
    credentials = Credentials(KEY, SECRETS["long"])
    async with VoiceSession(credentials) as session:
        stream = session.records(START, END)
        shown = repr([credentials, sign(credentials, 0), session, vars(session), session._transport, stream])
        shown += repr([vars(stream), str(stream.checkpoint), session.records])
    gc.collect()

    assert_no_secret(shown, credentials.api_secret, sign(credentials, 0).digest)


@pytest.mark.parametrize("name", tree.__all__)
def test_errors_survive_copies(name: str) -> None:
    """An error that is copied or pickled is equal, with all its data."""
    error = getattr(tree, name)("what was wrong")
    error.__dict__["window"] = Window(START, END)
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 -- ours
        assert type(twin) is type(error)
        assert (error.args, vars(error)) == (twin.args, vars(twin))


@pytest.mark.parametrize("secret", ["sandbox-secret", "base_url", "check the API key", "recording", "HTTP 404 without"])
async def test_the_librarys_own_sentences_are_not_redacted(secret: str) -> None:
    """A secret that is a word of an error's own text does not redact it; in the server's text it is redacted."""
    session = session_with(lambda _: refusal("-1", f"no {secret} here"), secret)
    with pytest.raises(APIError) as caught:
        await session.page(START, END)
    advice = "(check the API key and secret, and that base_url is the brand's that issued them)"
    assert f"-1: no *** here {advice}" == str(caught.value)

    session = session_with(lambda _: httpx.Response(404, text=secret), secret)
    with pytest.raises(ItnioError, match=r"HTTP 404 without an API response body, from https://.* \(check base_url\)"):
        await session.page(START, END)

    session = session_with(lambda _: httpx.Response(200, json={"status": "0"}), secret)
    with pytest.raises(ItnioError, match=r"^there is no recording with the id 'x'$"):
        await session.recording_url("x", source="sip")

    session = session_with(lambda _: record(cost=secret), secret)
    with pytest.raises(DecodeError) as decode:
        await session.page(START, END)
    assert "record v: cost is '***', but an amount such as 0.15 is expected" == str(decode.value)
    assert "***" == decode.value.value


HOSTILE = "\x1b]0;owned\x07 \x9b2J a\nWARNING forged\r \u202etxt.exe\u2066 \u2028 \x85 \u200b"

DAMAGED = b'{"status":"0","data":{"total":1,"records":[{"voiceId":"\\u001b]0;","callee":"\xff"}]}}'


async def test_hostile_text_from_a_server_is_printable(caplog: pytest.LogCaptureFixture) -> None:
    """Errors and log records are printable, and the server's text is available as data."""
    caplog.set_level(logging.DEBUG)
    answers = [
        refusal(HOSTILE, "why"),
        refusal("-22", HOSTILE),
        refusal("-22", [HOSTILE]),
        record(voiceId=HOSTILE, cost="x"),
        record(cost=HOSTILE),
        record(**{HOSTILE: [[[]] * 50] * 50, "cost": {HOSTILE: HOSTILE}}),
        record(voiceId=HOSTILE * 100, submitTime=HOSTILE * 100),
        httpx.Response(200, text=HOSTILE * 10),
        httpx.Response(200, content=DAMAGED),
        httpx.Response(404, text=HOSTILE),
        httpx.Response(302, headers={"location": quote(HOSTILE)}),
    ]
    errors: list[ItnioError] = []
    for answer in answers:
        session = session_with(lambda _, answer=answer: answer, SECRETS["long"])  # type: ignore[misc]
        for call in (session.page(START, END), session.record(HOSTILE), session.recording_url(HOSTILE, source="sip")):
            try:
                await call
            except ItnioError as error:
                errors.append(error)

    assert len(errors) > 2 * len(answers)
    for text in map(str, errors):
        assert text.isprintable()
        assert len(text) <= LONGEST
    assert HOSTILE in {error.status for error in errors if isinstance(error, APIError)}
    assert HOSTILE in {error.reason for error in errors if isinstance(error, APIError)}
    assert caplog.records
    for entry in caplog.records:
        assert entry.getMessage().isprintable()
        assert all(value.isprintable() for name, value in vars(entry).items() if "." in name and type(value) is str)


def fields_of_our_objects(needle: str) -> list[str]:
    """Return the types of objects with a text that contains the needle, which is reversed."""
    gc.collect()
    return [
        type(holder).__name__
        for holder in gc.get_objects()
        for value in gc.get_referents(holder)
        if type(value) in {str, bytes} and needle in (value if type(value) is str else value.decode("latin-1"))[::-1]
    ]


async def test_the_secret_of_a_dropped_session_is_freed() -> None:
    """After redacted errors, no cache of `re` nor any other reachable object holds it."""

    async def use(secret: str) -> None:
        session = session_with(lambda request: refusal("-1", f"{secret} {request.headers['sign']}"), secret)
        with pytest.raises(ItnioError):
            await session.page(START, END)
        await session.aclose()

    backwards = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=32))
    await use(backwards[::-1])

    assert [] == fields_of_our_objects(backwards)
