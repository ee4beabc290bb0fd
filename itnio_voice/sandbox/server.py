"""The sandbox: the service, its records and the port that it listens on."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from threading import RLock
from types import EllipsisType, TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from starlette.types import ASGIApp

from ._data.dataset import Kind, complete, default_end, default_start, generate
from ._data.fields import wire_fields
from ._data.store import Selection, Store
from ._service.app import BASE_PATH, Request, Service
from ._service.listener import HOST, Listener
from .behaviour import Behaviour

__all__ = ["Sandbox"]

_AS_THE_PAGE_SAYS = Behaviour()
_SEED_STEP = 1_000_003


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_aware(value: object) -> bool:
    return value is None or (isinstance(value, datetime) and value.utcoffset() is not None)


_RULES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "records": (_is_count, "an integer of 0 or more"),
    "sip_records": (_is_count, "an integer of 0 or more"),
    "start": (_is_aware, "a datetime with a time zone"),
    "end": (_is_aware, "a datetime with a time zone"),
    "behaviour": (lambda value: isinstance(value, Behaviour), "a Behaviour"),
    "accounts": (lambda value: value is None or isinstance(value, Mapping), "a mapping of secrets by key"),
}


def _check(**arguments: object) -> None:
    for name, value in arguments.items():
        holds, expected = _RULES[name]
        if not holds(value):
            message = f"{name} must be {expected}, not {value!r:.80}"
            raise ValueError(message)


class Sandbox:
    """A stand-in for the vendor's service, with real HTTP on loopback and records made from a seed.

    Enter it with `with` or `async with` (asyncio or trio): it makes its records and listens in a thread of its own
    until the end of the block. Without a server, pass `app` to `httpx.ASGITransport`, and call `close()` at the end.

    Each account has `records` voice-message and `sip_records` phone records, submitted in `[start, end)` (aware; by
    default the last 60 days). `accounts` are secrets by key. Without them, there is one account, of `api_key` and
    `api_secret`. `port` 0 is any free port. `database` is a path for SQLite; a file that has records keeps them.
    `clock` returns Unix seconds. `on_request` is called in the server's thread before each request is answered, with
    the sandbox and the number of the request, from 1.

    Raises:
        ValueError: for a number of records that is not an integer of 0 or more, a start or an end without a time zone,
            and another type of behaviour or accounts.
    """

    def __init__(
        self,
        *,
        records: int = 0,
        sip_records: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        seed: int = 1,
        behaviour: Behaviour = _AS_THE_PAGE_SAYS,
        accounts: Mapping[str, str] | None = None,
        api_key: str = "sandbox-key",
        api_secret: str = "sandbox-secret",  # noqa: S107 - it protects no data
        port: int = 0,
        database: str | Path = ":memory:",
        clock: Callable[[], float] = time.time,
        on_request: "Callable[[Sandbox, int], None] | None" = None,
    ) -> None:
        _check(records=records, sip_records=sip_records, start=start, end=end, behaviour=behaviour, accounts=accounts)
        self.accounts: dict[str, str] = dict(accounts) if accounts else {api_key: api_secret}
        self.api_key: str
        self.api_secret: str
        self.api_key, self.api_secret = next(iter(self.accounts.items()))
        self.on_request = on_request
        self._counts: Mapping[Kind, int] = {"group": records, "sip": sip_records}
        self._start, self._end = start, end
        self._seed = seed
        self._port = port
        self._database = database
        self._clock = clock
        self._lock = RLock()
        self._store: Store | None = None
        self._listener: Listener | None = None
        self._service = Service(
            store=self._opened,
            accounts=self.accounts,
            behaviour=behaviour,
            seed=seed,
            clock=clock,
            before=self._before,
        )

    # Start and stop

    def open(self) -> Self:
        """Create the records, unless they exist, without listening; return the sandbox."""
        with self._lock:
            if self._store is None:
                store = Store(self._database)
                try:
                    self._fill(store)
                except BaseException:
                    store.close()
                    raise
                self._store = store
        return self

    def serve(self) -> Self:
        """Make the records and listen, until `close()`; return the sandbox.

        Raises:
            OSError: if the port is in use.
        """
        with self._lock:
            self.open()
            if self._listener is None:
                self._listener = Listener(self._service, self._port)
        return self

    def close(self) -> None:
        """Stop listening and delete the records; `requests` stays. It may be called again."""
        # Not under the lock: the server's thread may need it to come to an end.
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        """Make the records and listen."""
        try:
            return self.serve()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.close()

    async def __aenter__(self) -> Self:
        """Make the records and listen, without holding up the event loop."""
        try:
            return await anyio.to_thread.run_sync(self.serve)
        except BaseException:
            await self._aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, without holding up the event loop."""
        await self._aclose()

    async def _aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def _fill(self, store: Store) -> None:
        if len(store):
            return
        end = self._end or default_end(self._clock())
        start = self._start or default_start(end)
        first = 1
        for index, account in enumerate(self.accounts):
            for kind, count in self._counts.items():
                # Numbers continue through accounts and kinds, so that ids are unique.
                made = generate(
                    count, start=start, end=end, seed=self._seed + index * _SEED_STEP, kind=kind, first=first
                )
                store.insert(made, kind=kind, account=account)
                first += count

    def _before(self, number: int) -> None:
        if self.on_request is not None:
            self.on_request(self, number)

    def _opened(self) -> Store:
        with self._lock:
            self.open()
            assert self._store is not None  # noqa: S101 - open() has set it
            return self._store

    # The service

    @property
    def app(self) -> ASGIApp:
        """The ASGI application; it makes its records at the first request, unless they are made."""
        return self._service

    @property
    def base_url(self) -> str:
        """The URL of the API, with its path; without a port while the sandbox does not listen."""
        listener = self._listener
        return f"http://{HOST}{f':{listener.port}' if listener else ''}{BASE_PATH}"

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour; a new one takes effect with the next request."""
        return self._service.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._service.behaviour = behaviour

    @property
    def requests(self) -> list[Request]:
        """The requests so far, in the order in which they were answered."""
        return self._service.requests

    def reset_requests(self) -> None:
        """Forget the requests so far; the next one is number 1."""
        self._service.reset_requests()

    @property
    def connections(self) -> int:
        """The number of open client connections."""
        listener = self._listener
        return listener.connections if listener else 0

    @property
    def in_flight(self) -> int:
        """The number of requests that are being answered."""
        return self._service.in_flight

    @property
    def most_in_flight(self) -> int:
        """The highest number of requests in flight since the requests were last reset."""
        return self._service.most_in_flight

    # The records

    def insert(
        self, *records: Mapping[str, Any | EllipsisType], kind: Kind = "group", account: str | None = None
    ) -> list[str]:
        """Add records and return their ids.

        A record is a mapping of fields, by the names of attributes (`submit_time`) or of the wire (`submitTime`). Times
        may be aware datetimes, and amounts `Decimal`. Missing fields are those of a short answered call, submitted now.
        A field that is `...` is omitted, as the vendor may do. `account` is a key; None is the first account.

        Raises:
            ValueError: for a submit time that cannot be read, a name with an underscore that is no attribute, a field
                given twice, a datetime without a time zone, and a value that JSON does not have. No record is added.
            KeyError: for an unknown account.
        """
        with self._lock:
            store, key = self._opened(), self._account(account)
            first, now = len(store) + 1, self._clock()
            completed = [
                complete(wire_fields(record), kind=kind, number=number, now=now)
                for number, record in enumerate(records, first)
            ]
            store.insert(completed, kind=kind, account=key, arrived=now)
        return [str(record.get("voiceId") or "") for record in completed]

    def delete(self, *voice_ids: str) -> int:
        """Remove records; return the number of removed ones."""
        return self._opened().delete(voice_ids)

    def update(self, voice_id: str, **fields: object) -> int:
        """Change fields of a record, named as in `insert` (`...` removes one); return the number of changed records.

        Raises:
            ValueError: for a field that `insert` does not accept.
        """
        return self._opened().update(voice_id, wire_fields(fields))

    def ids(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        kind: Kind = "group",
        account: str | None = None,
    ) -> set[str]:
        """Return the ids of the records in a range (aware; None is no limit), also of those that have not appeared yet.

        The behaviour sets which ends are inclusive, and which time the range selects by.
        """
        selection = Selection(
            account=self._account(account),
            kind=kind,
            behaviour=self.behaviour,
            now=self._clock(),
            start=None if start is None else start.timestamp(),
            end=None if end is None else end.timestamp(),
        )
        return self._opened().ids(selection)

    def _account(self, account: str | None) -> str:
        if account is None:
            return self.api_key
        if account not in self.accounts:
            raise KeyError(account)
        return account
