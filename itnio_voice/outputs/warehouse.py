"""Records to a warehouse: a dlt source, and `sync`, which runs it. Extra `dlt`.

How far each account has been read is stored at the destination, in the same load as the records. So it cannot cover
records that are not there, and a load that did not end changes nothing.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self, Unpack

import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from .._client.accounts import Account, open_sessions
from .._client.checkpoint import fingerprint
from .._client.merging import MergedStreams, merge
from .._client.session import SessionOptions, VoiceSession
from .._client.stream import RecordStream
from .._extras import needs
from .._model.records import CallRecord, SipRecord, VoiceRecord
from .._model.windows import Window, floor

with needs("dlt"):
    import dlt
    import pyarrow as pa

    from ._warehouse.destination import load
    from ._warehouse.rows import KEY, columns_of, rows_of
    from .arrow import record_batches

__all__ = ["LOOKBACK", "TABLES", "SyncResult", "sync", "voice_calls"]

LOOKBACK = timedelta(days=3)
"""How much each run reads again, for records that arrived late or have changed."""

TABLES: Mapping[str, type[CallRecord]] = {"voice_records": VoiceRecord, "sip_records": SipRecord}

Extent = dict[str, str]
"""How much of an account has been read: the ISO times `since` and `until`, and a digest of its `key`."""

Streams = Mapping[str, RecordStream[Any]]


@attrs.define
class SyncResult:
    """The result of a run: rows merged into each table, accounts that failed, and streams by table and account.

    `dataset` is the schema that holds the tables, as the destination spells it.
    """

    rows: dict[str, int] = attrs.field(factory=dict)
    failed: dict[str, dict[str, Exception]] = attrs.field(factory=dict)
    streams: dict[str, Streams] = attrs.field(factory=dict)
    dataset: str = ""

    @property
    def failures(self) -> list[Exception]:
        """The first error of each account that failed; `failed` has the errors by account and table."""
        return [next(iter(errors.values())) for errors in self.failed.values()]


@attrs.frozen(kw_only=True)
class SyncJob:
    """What a run reads, and how; `told` is called after each batch of rows."""

    accounts: Mapping[str, Account]
    since: datetime
    until: datetime | None
    lookback: timedelta
    expired: Literal["raise", "skip"] = "raise"
    told: Callable[[SyncResult], None] = lambda _: None
    synced: SyncResult | None = None

    def start(self, name: str, before: Extent | None) -> datetime:
        """Return where to begin with an account of which so much has been read."""
        if before is None or before["key"] != self._key(name) or self.since < _time(before["since"]):
            return self.since
        read = _time(before["until"])
        last = min(read, self.until or read)
        return last - self.lookback if self.lookback < last - self.since else self.since

    def done(self, name: str, before: Extent | None, windows: Sequence[Window]) -> Extent:
        """Return how much of an account has been read after these windows, given what had been before: without a hole.

        The windows are those of the stream's checkpoint. They may end before `until`, which no clock but the server's
        decides. Of two ranges with a hole between them, only the later run's counts.
        """
        since, key = self.since, self._key(name)
        until = windows[-1].end if windows else since
        if before and before["key"] == key:
            first, last = _time(before["since"]), _time(before["until"])
            # A run that goes on reads from `last`, less the lookback.
            if first <= since <= last or since <= first <= until:
                since, until = min(since, first), max(until, last)
        return {"since": since.isoformat(), "until": until.isoformat(), "key": key}

    def _key(self, name: str) -> str:
        """Return what tells an account from another one of the same name."""
        return fingerprint(self.accounts[name].credentials.api_key)


def voice_calls(
    accounts: Mapping[str, Account],
    *,
    since: datetime,
    until: datetime | None = None,
    lookback: timedelta = LOOKBACK,
    expired: Literal["raise", "skip"] = "raise",
    **options: Unpack[SessionOptions],
) -> Any:
    """Return a dlt source of the records of accounts, with the resources `voice_records` and `sip_records`.

    Rows are merged by account and `voice_id`. The first run reads from `since` to `until` (aware; None is the last
    second that is over on the server's clock). Each later run starts where the checkpoints of the last one ended, less
    `lookback`. These are times of requests, not of records. A new account, or a `since` that is earlier than before, is
    read from `since`. `options` are those of `VoiceSession`; all resources share one session per account.

    A record without a `voice_id` gets one that is a digest of its values, and begins with `none-`. U+FFFD replaces NUL
    in text. dlt's settings, logs and telemetry are those of your pipeline.

    Raises:
        ValueError: for no account, times without an offset, or `since` that is not before `until`.
        ExceptionGroup: when it is run, with the ItnioError of each account that failed.
    """
    job = _job(accounts, since, until, lookback, expired=expired, options=options)
    return _source(job, _Sessions(accounts, options))


def sync(
    accounts: Mapping[str, Account],
    *,
    since: datetime,
    until: datetime | None = None,
    lookback: timedelta = LOOKBACK,
    destination: str = "duckdb",
    database: Path = Path("itnio_voice.duckdb"),
    dataset: str = "itnio_voice",
    expired: Literal["raise", "skip"] = "raise",
    told: Callable[[SyncResult], None] = lambda _: None,
    **options: Unpack[SessionOptions],
) -> SyncResult:
    """Bring a destination up to date with the records of accounts, and return the rows and failures.

    `destination` is the name of one of dlt's. dlt finds its credentials in the environment or in its own files.
    `database` is the file of the destination `duckdb`. An account that fails stays as it was and is in `failures`; the
    others are brought up to date. A run that is killed can be repeated. The rest is as in `voice_calls`.

    Errors and logs hold no credentials of the destination. dlt's telemetry does not report the run. dlt's log messages
    go to the logger `itnio_voice.warehouse`, at DEBUG.

    Raises:
        ValueError: as `voice_calls` does, and for a destination that is unknown, cannot merge, lacks its driver or is
            configured wrongly.
        OSError: if the destination cannot be written.
    """
    synced = SyncResult()
    job = _job(accounts, since, until, lookback, expired=expired, options=options)
    job = attrs.evolve(job, told=told, synced=synced)
    with _Sessions(accounts, options) as sessions:
        source = _source(job, sessions)
        synced.dataset, rows = load(source, destination=destination, database=database, dataset=dataset)
    synced.rows = {table: rows.get(table, 0) for table in TABLES}
    return synced


def _job(
    accounts: Mapping[str, Account],
    since: datetime,
    until: datetime | None,
    lookback: timedelta,
    *,
    expired: Literal["raise", "skip"],
    options: SessionOptions,
) -> SyncJob:
    """Check the arguments before any request is sent."""
    if not accounts:
        message = "no account to read: accounts must not be empty"
        raise ValueError(message)
    if lookback < timedelta():
        message = f"lookback must not be negative, not {lookback}"
        raise ValueError(message)
    for account in accounts.values():
        account.session(**options).records(since, until, expired=expired)  # checks its arguments, sends nothing
    since, until = floor(since), until and floor(until)
    return SyncJob(accounts=accounts, since=since, until=until, lookback=lookback, expired=expired)


def _time(text: str) -> datetime:
    return floor(datetime.fromisoformat(text))


class _Sessions:
    """A session for each account, open in a thread of their own from the first `with` to the end of the last one.

    All tables share them: `concurrency` and `rate` are limits of a session, and hold for an account only if it has one.
    """

    def __init__(self, accounts: Mapping[str, Account], options: SessionOptions) -> None:
        self.portal: BlockingPortal
        self.by_account: Mapping[str, VoiceSession]
        self._accounts = accounts
        self._options = options
        self._users = 0
        self._lock = Lock()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with self._lock:
            if not self._users:
                with ExitStack() as stack:
                    self.portal = stack.enter_context(start_blocking_portal())
                    opening = open_sessions(self._accounts, **self._options)
                    self.by_account = stack.enter_context(self.portal.wrap_async_context_manager(opening))
                    self._opened = stack.pop_all()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._opened.close()


def _source(job: SyncJob, sessions: _Sessions) -> Any:
    @dlt.source(name="itnio_voice")  # type: ignore[untyped-decorator]  # dlt's types are not followed
    def voice_calls() -> Any:
        for table, of in TABLES.items():
            yield dlt.resource(
                _rows(job, sessions, table, of),
                name=table,
                primary_key=KEY,
                write_disposition="merge",
            )

    return voice_calls()


def _rows(job: SyncJob, sessions: _Sessions, table: str, of: type[CallRecord]) -> Iterator[pa.Table]:
    """Yield the rows of a table; how far an account has been read is stored after its last row."""
    yield columns_of(of).empty_table()
    state: dict[str, Extent] = dlt.current.resource_state().setdefault("done", {})
    synced = job.synced or SyncResult()
    with sessions:
        streams = synced.streams[table] = _streams(job, sessions, of, state)
        batches = {name: _batches(stream, name) for name, stream in streams.items()}
        reading: MergedStreams[str, pa.RecordBatch | None] = merge(batches, buffer=1, on_error="collect")
        with sessions.portal.wrap_async_context_manager(reading) as merged:
            try:
                while item := sessions.portal.call(anext, merged, None):
                    name, batch = item
                    if batch is None:
                        state[name] = job.done(name, state.get(name), streams[name].checkpoint.done)
                    else:
                        yield rows_of(batch, of)
                    job.told(synced)
            except ExceptionGroup:
                if not job.synced:
                    raise
                for name, failure in merged.failures.items():
                    synced.failed.setdefault(name, {})[table] = failure


def _streams(job: SyncJob, sessions: _Sessions, of: type[CallRecord], state: Mapping[str, Extent]) -> Streams:
    """Return a stream for each account that has anything to read."""
    starts = {name: job.start(name, state.get(name)) for name in sessions.by_account}
    return {
        name: sessions.by_account[name].records(start, job.until, of=of, expired=job.expired)
        for name, start in starts.items()
        if job.until is None or start < job.until
    }


async def _batches(stream: RecordStream[Any], account: str) -> AsyncIterator[pa.RecordBatch | None]:
    """Yield the batches of a stream, and None after the last one."""
    async for batch in record_batches(stream, account=account):
        yield batch
    yield None
