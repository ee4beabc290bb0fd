"""Records to a warehouse: a dlt source, and `sync`, which runs it. Extra `dlt`.

How far each account has been read is stored at the destination, in the same load as the records. So it cannot cover
records that are not there, and a load that did not end changes nothing.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Unpack

import attrs

from .._client.accounts import Account
from .._client.merging import MergedStreams, merge
from .._client.session import SessionOptions
from .._client.stream import PrefetchedStream
from .._extras import needs
from .._model.records import CallRecord
from ._warehouse.job import Streams, SyncJob, SyncResult, sync_job
from ._warehouse.sessions import SharedSessions

with needs("dlt"):
    import dlt
    import pyarrow as pa

    from ._warehouse.destination import load
    from ._warehouse.extraction import fitted, money_of, with_load_id
    from ._warehouse.rows import KEY, TABLES, columns_of, rows_of
    from .arrow import decimal_type, record_batches

__all__ = ["LOOKBACK", "TABLES", "SyncResult", "sync", "voice_calls"]

LOOKBACK = timedelta(days=3)
"""How much each run reads again, for records that arrived late or have changed."""

SyncResult.__module__ = __name__


def voice_calls(
    accounts: Mapping[str, Account],
    *,
    since: datetime,
    until: datetime | None = None,
    lookback: timedelta = LOOKBACK,
    expired: Literal["raise", "skip"] = "raise",
    money: "pa.DataType | None" = None,
    **options: Unpack[SessionOptions],
) -> Any:
    """Return a dlt source of the records of accounts, with the resources `voice_records` and `sip_records`.

    Rows are merged by account and `voice_id`. The first run reads from `since` to `until` (aware; None is the last
    second that is over on the server's clock). Each later run starts where the checkpoints of the last one ended, less
    `lookback`. These are times of requests, not of records. A new account, or a `since` that is earlier than before, is
    read from `since`. `options` are those of `VoiceSession`; all resources share one session per account.

    A record without a `voice_id` gets one that is a digest of its values, and begins with `none-`. U+FFFD replaces NUL
    in text. `_dlt_load_id` is the load in which a row was written last. dlt's settings, logs and telemetry are those of
    your pipeline.

    `money` is the decimal type of amounts and rates in tables that are created, by default that of `arrow.schema`. A
    table keeps the type with which it was created. An amount that does not fit fails its account; none is rounded.

    Raises:
        ValueError: for no account, times without an offset, `since` that is not before `until`, or `money` that is no
            decimal type; when it is run, for `money` that is another type than that of a table.
        ExceptionGroup: when it is run, with the ItnioError of each account that failed.
    """
    job = sync_job(accounts, since, until, lookback, expired=expired, options=options)
    job = attrs.evolve(job, money=money and decimal_type(money))
    return _source(_reading(job, SharedSessions(accounts, options)))


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
    money: "pa.DataType | None" = None,
    on_progress: Callable[[SyncResult], None] = lambda _: None,
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
            configured wrongly; before any record is requested.
        OSError: if the destination cannot be written.
    """
    result = SyncResult()
    job = sync_job(accounts, since, until, lookback, expired=expired, options=options)
    job = attrs.evolve(job, money=money and decimal_type(money), on_progress=on_progress, result=result)
    with SharedSessions(accounts, options) as sessions:
        source = _source(_reading(job, sessions))
        result.dataset, rows = load(source, destination=destination, database=database, dataset=dataset)
    result.rows = {table: rows.get(table, 0) for table in TABLES}
    return result


def merge_rows(rows: Mapping[str, pa.Table], *, database: Path, dataset: str) -> None:
    """Merge rows into the tables of a DuckDB file. How far accounts have been read stays as it is.

    Raises:
        ValueError: for an amount that does not fit into its table.
        OSError: if the file cannot be written.
    """
    source = _source({table: _fitted(table, each) for table, each in rows.items()})
    load(source, destination="duckdb", database=database, dataset=dataset)


def _reading(job: SyncJob, sessions: SharedSessions) -> Mapping[str, Iterator[pa.Table]]:
    return {table: _rows(job, sessions, table, of) for table, of in TABLES.items()}


def _fitted(table: str, rows: pa.Table) -> Iterator[pa.Table]:
    yield with_load_id(fitted(rows, table, TABLES[table]))


def _source(rows: Mapping[str, Iterator[pa.Table]]) -> Any:
    @dlt.source(name="itnio_voice")  # type: ignore[untyped-decorator]  # dlt's types are not followed
    def voice_calls() -> Any:
        for table, each in rows.items():
            yield dlt.resource(each, name=table, primary_key=KEY, write_disposition="merge")

    return voice_calls()


def _rows(job: SyncJob, sessions: SharedSessions, table: str, of: type[CallRecord]) -> Iterator[pa.Table]:
    """Yield the rows of a table. The state of an account is stored after its last row."""
    money = money_of(table, job.money)
    yield with_load_id(columns_of(of, money).empty_table())
    state: dict[str, dict[str, str]] = dlt.current.resource_state().setdefault("done", {})
    result = job.result or SyncResult()
    with sessions, ExitStack() as stack:
        enter, portal = stack.enter_context, sessions.portal
        streams = result.streams[table] = _streams(job, sessions, of, state)
        ahead = {name: enter(portal.wrap_async_context_manager(stream.prefetch())) for name, stream in streams.items()}
        batches = {name: _batches(stream, name, money) for name, stream in ahead.items()}
        reading: MergedStreams[str, pa.RecordBatch | None] = merge(batches, buffer=1, on_error="collect")
        merged = enter(portal.wrap_async_context_manager(reading))
        try:
            while item := portal.call(anext, merged, None):
                name, batch = item
                if batch is None:
                    state[name] = job.state_after(name, state.get(name), streams[name].checkpoint.done)
                else:
                    yield with_load_id(rows_of(batch, of))
                job.on_progress(result)
        except ExceptionGroup:
            if not job.result:
                raise
            for name, failure in merged.failures.items():
                result.failed.setdefault(name, {})[table] = failure


def _streams(
    job: SyncJob, sessions: SharedSessions, of: type[CallRecord], state: Mapping[str, dict[str, str]]
) -> Streams:
    """Return a stream for each account that has anything to read."""
    starts = {name: job.start(name, state.get(name)) for name in sessions.by_account}
    return {
        name: sessions.by_account[name].records(start, job.until, of=of, expired=job.expired)
        for name, start in starts.items()
        if job.until is None or start < job.until
    }


async def _batches(
    stream: PrefetchedStream[Any], account: str, money: pa.DataType
) -> AsyncIterator[pa.RecordBatch | None]:
    """Yield the batches of a stream, and None after the last one."""
    async for batch in record_batches(stream, account=account, money=money):
        yield batch
    yield None
