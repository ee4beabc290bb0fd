"""Records into a warehouse, again and again: a dlt source, and `sync`, which runs it. Behind the extra `dlt`.

How far each account has been read is remembered at the destination, with the load that brought it there. So nothing
that lies elsewhere can tell of records that are not there, and a load that did not end did not happen.
"""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Unpack

import attrs
from anyio.from_thread import start_blocking_portal

from .accounts import Account, open_sessions
from .checkpoint import fingerprint
from .extras import needs
from .merge import Merged, merge
from .models import CallRecord, SipRecord, VoiceRecord
from .session import Options
from .stream import RecordStream
from .windows import Window, floor

with needs("dlt"):
    import dlt
    import pyarrow as pa
    from dlt.common.exceptions import DltException
    from dlt.pipeline.exceptions import PipelineStepFailed

    from .arrow import record_batches, schema

__all__ = ["LOOKBACK", "TABLES", "Synced", "sync", "voice_calls"]

LOOKBACK = timedelta(days=3)
"""So far a run reads back again, for records that came late or have changed."""

TABLES: Mapping[str, type[CallRecord]] = {"voice_records": VoiceRecord, "sip_records": SipRecord}

KEY = ("account", "voice_id")
"""Two rows in which these are the same are the same record."""

Extent = dict[str, str]
"""How much of an account has been read: the ISO times `since` and `until`, and a digest of its `key`."""

Streams = Mapping[str, RecordStream[Any]]


@attrs.define
class Synced:
    """What a run came to: rows merged into each table, accounts that failed, and streams by table and account."""

    rows: dict[str, int] = attrs.field(factory=dict)
    failures: list[Exception] = attrs.field(factory=list)
    streams: dict[str, Streams] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Job:
    """What is read of which accounts, and how; `told` is called whenever there are new rows."""

    accounts: Mapping[str, Account]
    since: datetime
    until: datetime | None
    lookback: timedelta
    expired: Literal["raise", "skip"] = "raise"
    options: Options = attrs.field(factory=Options)
    told: Callable[[Synced], None] = lambda _: None
    synced: Synced | None = None

    def start(self, name: str, before: Extent | None) -> datetime:
        """Return where to begin with an account of which so much has been read."""
        if before is None or before["key"] != self._key(name) or self.since < _time(before["since"]):
            return self.since
        read = _time(before["until"])
        return max(self.since, min(read, self.until or read) - self.lookback)

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
    **options: Unpack[Options],
) -> Any:
    """Return the dlt source of some accounts' records: the resources `voice_records` and `sip_records`.

    Rows are merged by account and `voice_id`. The first run reads from `since` to `until` (aware; None is the last
    second that is over on the server's clock), each later one from where the checkpoints of the last one ended, less
    `lookback`: by the time that the API is asked by, whatever times the records have. An account that is new, or a
    `since` that is earlier than before, begins at `since`. `options` are those of `VoiceSession`. A record without a
    `voice_id` gets one made of all that it says, which begins with `none-`.

    Raises:
        ValueError: for no account, times without an offset, or `since` that is not before `until`.
        ExceptionGroup: when it is run, with the ItnioError of each account that failed.
    """
    return _source(_job(accounts, since, until, lookback, expired=expired, options=options))


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
    told: Callable[[Synced], None] = lambda _: None,
    **options: Unpack[Options],
) -> Synced:
    """Bring a destination up to date with the records of some accounts, and return what came of it.

    `destination` is one of dlt's, which finds its credentials as dlt does, in the environment or its own files;
    `database` is DuckDB's file. An account that fails is left as far as it was, and told in `failures`: the others are
    brought up to date. The rest is as in `voice_calls`. A run that is killed leaves what the next run needs.

    Raises:
        ValueError: as `voice_calls` does, and for a destination that cannot merge.
        OSError: if the destination cannot be written.
    """
    synced = Synced()
    job = _job(accounts, since, until, lookback, expired=expired, options=options)
    dlt.config["runtime.dlthub_telemetry"] = False
    target = dlt.destinations.duckdb(str(database)) if destination == "duckdb" else destination
    # What dlt notes on this machine is of this run only: what it must know of earlier ones it finds at the destination.
    with tempfile.TemporaryDirectory(prefix="itnio_voice-") as folder:
        try:
            pipeline = dlt.pipeline("itnio_voice", pipelines_dir=folder, destination=target, dataset_name=dataset)
        except DltException as error:
            message = f"{destination!r} is no destination of dlt's: {_first_line(error)}"
            raise ValueError(message) from error
        form: Any = _table_format(pipeline)
        try:
            pipeline.run(_source(attrs.evolve(job, told=told, synced=synced)), table_format=form)
        except PipelineStepFailed as failed:
            raise _root(failed) from failed
        trace: Any = pipeline.last_trace
    synced.rows = {table: trace.last_normalize_info.row_counts.get(table, 0) for table in TABLES}
    return synced


def _job(
    accounts: Mapping[str, Account],
    since: datetime,
    until: datetime | None,
    lookback: timedelta,
    *,
    expired: Literal["raise", "skip"],
    options: Options,
) -> Job:
    """Look at the arguments before anything is asked."""
    if not accounts:
        message = "no account to read"
        raise ValueError(message)
    if lookback < timedelta():
        message = f"lookback must not be negative, as {lookback} is"
        raise ValueError(message)
    for account in accounts.values():
        account.session(**options).records(since, until, expired=expired)  # looks at what is passed on, asks nothing
    since, until = floor(since), until and floor(until)
    return Job(accounts=accounts, since=since, until=until, lookback=lookback, expired=expired, options=options)


def _table_format(pipeline: Any) -> str | None:
    """Return the table format with which a destination merges; None for its own.

    Raises:
        ValueError: if it would append instead, which doubles what is read again.
    """
    name, able = pipeline.destination.destination_name, pipeline.destination.capabilities()
    if "delete-insert" in (able.supported_merge_strategies or ()):
        return None
    if "delta" not in (able.supported_table_formats or ()):
        message = f"{name} cannot merge, so records would be there twice: choose another destination"
        raise ValueError(message)
    if not find_spec("deltalake"):
        message = f"{name} merges Delta tables only, and deltalake is not there: pip install 'dlt[deltalake]'"
        raise ValueError(message)
    return "delta"


def _root(failed: BaseException) -> BaseException:
    """Return what lies under an error of dlt's: an interrupt, or an error of the system."""
    root: BaseException = failed
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    if isinstance(root, OSError) or not isinstance(root, Exception):
        return root
    return OSError(f"the destination failed: {type(root).__name__}: {_first_line(root)}")


def _time(text: str) -> datetime:
    return floor(datetime.fromisoformat(text))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _source(job: Job) -> Any:
    @dlt.source(name="itnio_voice")  # type: ignore[untyped-decorator]  # dlt's types are not followed
    def voice_calls() -> Any:
        for table, of in TABLES.items():
            yield dlt.resource(
                _rows(job, table, of),
                name=table,
                primary_key=KEY,
                write_disposition="merge",
            )

    return voice_calls()


def _rows(job: Job, table: str, of: type[CallRecord]) -> Iterator[pa.Table]:
    """Yield the rows of a table; how far an account has been read is noted once all of its rows are there."""
    columns = _plain(schema(of, account=True))
    yield columns.empty_table()
    state: dict[str, Extent] = dlt.current.resource_state().setdefault("done", {})
    synced = job.synced or Synced()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_open(job, of, state)) as (streams, merged),
    ):
        synced.streams[table] = streams
        try:
            while item := portal.call(anext, merged, None):
                name, batch = item
                if batch is None:
                    state[name] = job.done(name, state.get(name), streams[name].checkpoint.done)
                else:
                    yield _keyed(pa.Table.from_batches([batch])).cast(columns)
                job.told(synced)
        except ExceptionGroup as failures:
            if not job.synced:
                raise
            synced.failures += failures.exceptions


@asynccontextmanager
async def _open(
    job: Job, of: type[CallRecord], state: Mapping[str, Extent]
) -> AsyncGenerator[tuple[Streams, Merged[str, pa.RecordBatch | None]]]:
    """Open a session for each account, and read what is to be read of all at once."""
    async with open_sessions(job.accounts, **job.options) as sessions:
        starts = {name: job.start(name, state.get(name)) for name in sessions}
        streams = {
            name: sessions[name].records(start, job.until, of=of, expired=job.expired)
            for name, start in starts.items()
            if job.until is None or start < job.until
        }
        batches = {name: _batches(stream, name) for name, stream in streams.items()}
        async with merge(batches, buffer=1, on_error="collect") as merged:
            yield streams, merged


async def _batches(stream: RecordStream[Any], account: str) -> AsyncIterator[pa.RecordBatch | None]:
    """Yield a stream's batches, and None once all have been."""
    async for batch in record_batches(stream, account=account):
        yield batch
    yield None


def _plain(columns: pa.Schema) -> pa.Schema:
    """Return a schema as a warehouse has it: no dictionaries, and nothing missing in what makes two rows the same."""
    plain = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in columns]
    return pa.schema([field.with_nullable(field.name not in KEY) for field in plain])


def _keyed(table: pa.Table) -> pa.Table:
    """Give each row without a `voice_id` one that is made of all that it says.

    A warehouse would take all that have none for one and the same.
    """
    place = table.schema.get_field_index("voice_id")
    if not table["voice_id"].null_count:
        return table
    names = [row["voice_id"] or f"none-{fingerprint(row)}" for row in table.to_pylist()]
    return table.set_column(place, table.schema.field(place), pa.array(names, pa.string()))
