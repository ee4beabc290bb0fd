"""Errors: their tree, and the data of each one."""

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import itnio_voice
from itnio_voice import (
    APIError,
    AuthenticationError,
    DecodeError,
    HTTPStatusError,
    IncompleteWindowError,
    IPRestrictedError,
    ItnioError,
    ParameterError,
    ProtocolError,
    RecordNotFoundError,
    RequestTimeoutError,
    ServerError,
    TimeRangeError,
    TimestampExpiredError,
    TransportError,
    UserLockedError,
    Window,
)
from itnio_voice._model import errors
from itnio_voice._model.errors import REFUSALS, is_transient_status

WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
STATUSES: list[tuple[str, type[APIError]]] = [
    ("-1", AuthenticationError),
    ("-2", IPRestrictedError),
    ("-13", UserLockedError),
    ("-16", TimestampExpiredError),
    ("-18", ServerError),
    ("-22", ParameterError),
    ("-25", TimeRangeError),
]

EXAMPLES: list[tuple[ItnioError, dict[str, Any]]] = [
    (ItnioError("m"), {}),
    (APIError("m", status="-99", reason="r"), {"status": "-99", "reason": "r"}),
    *((kind("m", status=status, reason="r"), {"status": status, "reason": "r"}) for status, kind in STATUSES[:-1]),
    (TimeRangeError("m", status="-25", reason="r", window=WINDOW), {"status": "-25", "reason": "r", "window": WINDOW}),
    (ProtocolError("m", excerpt="<p>", transient=True), {"excerpt": "<p>", "transient": True}),
    (ProtocolError("m", excerpt="<p>"), {"excerpt": "<p>", "transient": False}),
    (
        DecodeError("m", voice_id="1", field="cost", value=["x"]),
        {"voice_id": "1", "field": "cost", "value": ["x"], "excerpt": "", "transient": False},
    ),
    (TransportError("m"), {}),
    (RequestTimeoutError("m"), {}),
    (
        HTTPStatusError("m", status_code=503, retry_after=1.5),
        {"status_code": 503, "retry_after": 1.5, "transient": True},
    ),
    (HTTPStatusError("m", status_code=404), {"status_code": 404, "retry_after": None, "transient": False}),
    (
        IncompleteWindowError("m", window=WINDOW, expected=5, received=4),
        {"window": WINDOW, "expected": 5, "received": 4},
    ),
    (IncompleteWindowError("m"), {"window": None, "expected": None, "received": 0}),
    (RecordNotFoundError("m"), {}),
]
KINDS = [getattr(errors, name) for name in errors.__all__]


def test_every_error_has_an_example_and_is_exported() -> None:
    """The table above is complete, and the package root exports each error."""
    assert set(KINDS) == {type(error) for error, _ in EXAMPLES}
    assert set(errors.__all__) == {name for name in itnio_voice.__all__ if name.endswith("Error")}


@pytest.mark.parametrize(("error", "carries"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_errors_keep_their_data_when_pickled(error: ItnioError, carries: dict[str, Any]) -> None:
    """An error has data beside its text, and keeps both when it is pickled or copied."""
    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert (type(error), "m", carries) == (type(twin), str(twin), vars(twin))
        assert error.transient == twin.transient


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_enough(kind: type[ItnioError]) -> None:
    """Every error can be created from its text alone, as in a caller's tests; only text is positional."""
    assert "m" == str(kind("m"))
    if "__init__" in vars(kind):
        with pytest.raises(TypeError):
            kind("m", "positional")


def test_the_tree_is_as_drawn() -> None:
    """The diagram in the module shows every class below its base class."""
    parents: list[str] = []
    drawn: dict[str, str | None] = {}
    for indent, name in re.findall(r"^ {4}([│├└─ ]*)([A-Z]\w+Error)\b", inspect.getdoc(errors) or "", re.MULTILINE):
        depth = len(indent) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else None

    assert {kind.__name__: kind.__base__.__name__ if kind is not ItnioError else None for kind in KINDS} == drawn


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_each_status_has_its_error(status: str, kind: type[APIError]) -> None:
    """Each status has its class, whose advice names who can act."""
    assert kind is REFUSALS[status]
    assert len(STATUSES) == len(REFUSALS)
    assert kind.advice != APIError.advice


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (APIError("m"), False),
        (AuthenticationError("m"), False),
        (TimestampExpiredError("m"), False),
        (ServerError("m"), True),
        (TimeRangeError("m"), False),
        (DecodeError("m"), False),
        (TransportError("m"), True),
        (RequestTimeoutError("m"), True),
        (IncompleteWindowError("m"), False),
        (RecordNotFoundError("m"), False),
        *((HTTPStatusError("m", status_code=code), False) for code in (0, 302, 400, 404, 408, 428, 430, 499)),
        *((HTTPStatusError("m", status_code=code), True) for code in (429, 500, 502, 503, 504, 599)),
    ],
    ids=repr,
)
def test_which_errors_are_transient(error: ItnioError, transient: bool) -> None:
    """Network faults and the vendor's own are transient; of HTTP statuses, 429 and 5xx; nothing else."""
    assert transient is error.transient
    if isinstance(error, HTTPStatusError):
        assert transient is is_transient_status(error.status_code)


LARGE = 10 * 2**20


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ("x" * LARGE, "x" * 1000),
        ("x" * 2000, "x" * 2000),
        ([1] * LARGE, "list of more than 65,536 bytes"),
        ({"a": [{"b": "x" * LARGE}]}, "dict of more than 65,536 bytes"),
        ({"x" * LARGE: 1}, "dict of more than 65,536 bytes"),
        (Decimal("1" * LARGE), "Decimal of more than 65,536 bytes"),
        ({"voiceId": "v1", "cost": [None, {"a": 1.5}]}, {"voiceId": "v1", "cost": [None, {"a": 1.5}]}),
    ],
    ids=["text", "short-text", "list", "nested", "name", "number", "record"],
)
def test_large_values_are_cut(value: Any, carried: Any) -> None:
    """An error carries a value of up to 64 kB, and a description of a larger one."""
    assert carried == DecodeError("m", value=value).value


def test_long_texts_are_cut() -> None:
    """Texts from a server are cut at 1,000 characters."""
    refusal = APIError("m", status="s" * LARGE, reason="r" * LARGE)
    unreadable = DecodeError("m", voice_id="v" * LARGE, field="f" * LARGE)

    assert ("s" * 1000, "r" * 1000) == (refusal.status, refusal.reason)
    assert ("v" * 1000, "f" * 1000) == (unreadable.voice_id, unreadable.field)
