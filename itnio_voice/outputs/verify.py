"""Proof that a warehouse or an exported file holds what the API has, and repair of a warehouse. Extra `dlt`."""

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Unpack

import attrs

from .._client.accounts import Account, open_sessions
from .._client.checkpoint import fingerprint
from .._client.owned_tasks import finish_in_thread, results_of
from .._client.session import SessionOptions
from .._extras import needs
from .._model.errors import ItnioError
from .._model.printable import printable
from .._model.records import CallRecord
from .._model.windows import Window, whole_seconds

with needs("dlt"):
    import pyarrow as pa

    from ._verify.comparison import Compared, Comparing
    from ._verify.rows import Row, content_of
    from ._verify.stored import StoredRecords, stored_records
    from ._warehouse.rows import columns_of
    from .arrow import WIDEST_MONEY
    from .warehouse import merge_rows

__all__ = ["Verification", "VerifiedTable", "verify"]

CONCURRENCY = 4
"""The maximum number of accounts and kinds that are compared at once, and the default of a session's requests."""


@attrs.frozen(kw_only=True)
class VerifiedTable:
    """The result for one account and kind of record.

    - `table` is `voice_records` or `sip_records`, also for a file.
    - `window` is the range that was compared; None if all of it is older than the API's retention.
    - `records` is the number of the API's records in it, and `read` how many were read and compared by id.
    - `missing`, `extra` and `changed` are ids: of records that only the API has, of rows that only the warehouse or the
      file has (also second copies of a row), and of records whose values differ. A record without an id has one that
      begins with `none-`, as in a warehouse.
    - `undated` is the number of rows without a submit time: such a row is found missing or changed, but not extra.
    - `repaired` is whether the missing and changed records have been merged.
    """

    account: str
    table: str
    window: Window | None
    records: int
    read: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]
    undated: int
    repaired: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the rows agree with the API's records, after the repair if there was one."""
        return not self.extra and (self.repaired or not (self.missing or self.changed))


@attrs.frozen(kw_only=True)
class Verification:
    """The results by account and kind, and the number of rows of each account that was not compared."""

    tables: tuple[VerifiedTable, ...]
    not_compared: Mapping[str, int]

    @property
    def agrees(self) -> bool:
        """Whether all rows agree with the API's records."""
        return all(table.agrees for table in self.tables)


@attrs.frozen
class _Job:
    account: str
    table: str
    of: type[CallRecord]
    window: Window


async def verify(
    accounts: Mapping[str, Account],
    source: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    dataset: str | None = None,
    by_id: bool = False,
    repair: bool = False,
    **options: Unpack[SessionOptions],
) -> Verification:
    """Compare the records of a DuckDB file of `sync`, or of an exported file, with those of the API.

    The numbers of records are compared for each account, kind and day (UTC). Where they differ, the records are
    compared by id, with all their values. With `by_id`, all records are: equal numbers prove less than equal records,
    because a missing and an extra record on the same day are not noticed, nor is a changed one.

    `since` and `until` are aware. By default, they are the range that `sync` has read of the account; without it, the
    first and the last submit time. What is older than the API's retention is not compared. `dataset` is needed if the
    database has several with tables of `sync`. `options` are those of `VoiceSession`.

    With `repair`, the missing and changed records are merged into the database in one load, and compared once more.
    Extra rows are never deleted. How far `sync` has read stays as it is. A file cannot be repaired.

    Raises:
        ValueError: if the source holds no call records, `repair` is passed for a file, none of the accounts is in it,
            or there is nothing to compare; before any request, unless all records are older than the retention.
        OSError: if the source cannot be read, or not be written by a repair.
        ItnioError: if the API refuses or the network fails.
    """
    with ExitStack() as stack:
        stored = await finish_in_thread(_opened, stack, source, dataset, accounts)
        if repair and not stored.dataset:
            message = f"{printable(str(source))} is a file, which cannot be repaired: export it again"
            raise ValueError(message)
        not_compared = _not_compared(stored, accounts)
        jobs = _jobs(stored, accounts, since, until)
        async with open_sessions(accounts, **options) as sessions:

            async def compare(job: _Job) -> Compared:
                comparing = Comparing(
                    stored=stored,
                    session=sessions[job.account],
                    account=job.account,
                    table=job.table,
                    of=job.of,
                    window=job.window,
                    concurrency=options.get("concurrency", CONCURRENCY),
                    by_id=by_id,
                )
                try:
                    return await comparing.run()
                except ItnioError as error:
                    error.add_note(f"while verifying {job.table} of the account {job.account!r:.80}")
                    raise

            found = await results_of(compare, jobs, CONCURRENCY)
        undated = {job: stored.undated(job.table, job.account) for job in jobs}
        place = stored.dataset
    if all(each.window is None for each in found.values()):
        message = "there is nothing to compare: all of the range is older than the API's retention"
        raise ValueError(message)
    repaired = set[_Job]()
    if repair and place and any(each.missing or each.changed for each in found.values()):
        await finish_in_thread(_merge, source, place.name, found)
        repaired = await finish_in_thread(_repaired, source, place.name, found)
    tables = [_table(job, found[job], undated[job], repaired=job in repaired) for job in jobs]
    return Verification(tables=tuple(tables), not_compared=not_compared)


def _opened(stack: ExitStack, source: Path, dataset: str | None, accounts: Mapping[str, Account]) -> StoredRecords:
    (only,) = accounts if len(accounts) == 1 else [None]
    return stack.enter_context(stored_records(source, dataset=dataset, account=only))


def _not_compared(stored: StoredRecords, accounts: Mapping[str, Account]) -> Mapping[str, int]:
    """Return the number of rows of each account that is not configured.

    Raises:
        ValueError: if none of the stored accounts is.
    """
    rows = stored.accounts()
    others = {name: number for name, number in rows.items() if name not in accounts}
    if rows and len(others) == len(rows):
        names, known = (printable(", ".join(map(repr, each)), 300) for each in (others, accounts))
        message = (
            f"{printable(str(stored.source))} holds records of {names}, but the accounts are {known}: "
            "pass the accounts that it was filled from"
        )
        raise ValueError(message)
    return others


def _jobs(
    stored: StoredRecords, accounts: Mapping[str, Account], since: datetime | None, until: datetime | None
) -> list[_Job]:
    """Return what to compare, with the range of each.

    Raises:
        ValueError: if a range is empty or not known.
    """
    jobs = list[_Job]()
    for name, account in accounts.items():
        key = fingerprint(account.credentials.api_key)
        for table, of in stored.tables.items():
            first, last = stored.span(table, name, key) or (None, None)
            start, end = since or first, until or last
            window = whole_seconds(start, end) if start and end and (since or until or start < end) else None
            if window is None:
                where = f"{printable(str(stored.source))} for the account {name!r:.80}"
                message = f"there is nothing to compare in {where}: pass since and until"
                raise ValueError(message)
            jobs.append(_Job(name, table, of, window))
    return jobs


def _merge(source: Path, dataset: str, found: Mapping[_Job, Compared]) -> None:
    """Merge the missing and changed records of all accounts in one load."""
    columns = {job.table: columns_of(job.of, WIDEST_MONEY) for job in found}
    rows: dict[str, list[Row]] = {table: [] for table in columns}
    for job, each in found.items():
        rows[job.table] += _to_merge(each).values()
    tables = {table: pa.Table.from_pylist(each, schema=columns[table]) for table, each in rows.items() if each}
    merge_rows(tables, database=source, dataset=dataset)


def _to_merge(found: Compared) -> Mapping[str, Row]:
    """Return a row for each id that is missing or changed."""
    return {row["voice_id"]: row for row in [*found.missing.values(), *found.changed.values()]}


def _repaired(source: Path, dataset: str, found: Mapping[_Job, Compared]) -> set[_Job]:
    """Return the jobs whose missing and changed records are stored now."""
    with stored_records(source, dataset=dataset, account=None) as stored:
        return {job for job, each in found.items() if _is_stored(stored, job, _to_merge(each))}


def _is_stored(stored: StoredRecords, job: _Job, wanted: Mapping[str, Row]) -> bool:
    rows = stored.rows(job.table, job.account, wanted, None, 0)
    return set(map(content_of, wanted.values())) <= set(map(content_of, rows))


def _table(job: _Job, found: Compared, undated: int, *, repaired: bool) -> VerifiedTable:
    names = {
        "missing": tuple(row["voice_id"] for row in found.missing.values()),
        "changed": tuple(found.changed),
        "extra": tuple(found.extra.elements()),
    }
    return VerifiedTable(
        account=job.account,
        table=job.table,
        window=found.window,
        records=found.records,
        read=found.read,
        undated=undated,
        repaired=repaired and bool(found.missing or found.changed),
        **names,
    )
