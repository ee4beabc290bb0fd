"""Records to a Dask DataFrame with a partition per account and window. Extra `dask`."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Unpack

from anyio.from_thread import start_blocking_portal

from .._client.accounts import Account, find_accounts
from .._client.session import SessionOptions
from .._extras import needs
from .._model.errors import IncompleteWindowError
from .._model.records import CallRecord, VoiceRecord
from .._model.windows import LONGEST, SECOND, Window, floor, whole_seconds

with needs("dask"):
    import dask.dataframe as dd
    import pandas as pd
    import pyarrow as pa
    from dask.dataframe.extensions import make_scalar

    from .arrow import MONEY, pandas_dtype, record_batch, schema

__all__ = ["read_records"]

_NOT_FORWARDED = {
    "base_url": "it belongs to an account, and is looked up by its name",
    "http_client": "each partition has a client of its own",
}
"""The options of a session that partitions cannot be given, and why."""


def _money(_: Decimal) -> Decimal:
    """Register an example of an amount with Dask, which plans a sum only for types in its table of scalars."""
    return Decimal(1)


make_scalar.register(Decimal, _money)


def read_records(
    accounts: Iterable[str],
    start: datetime,
    end: datetime | None = None,
    *,
    of: type[CallRecord] = VoiceRecord,
    where: Mapping[str, str] | None = None,
    span: timedelta = LONGEST,
    money: pa.DataType = MONEY,
    **options: Unpack[SessionOptions],
) -> dd.DataFrame:
    """Return the records of accounts from `start` to `end`; each partition is requested when it is computed.

    A partition is an account's records of `span`, by default 31 days, in whole seconds. `accounts` are names that
    `find_accounts` finds, here and where the tasks run; without names, all accounts that it finds here. Only the names
    are sent to the workers. `start`, `end`, `of` and `where` are as in `VoiceSession.records`, but an `end` of None is
    the last second that is over on this machine's clock. `options` are those of the `VoiceSession` that each partition
    opens, without `http_client` and `base_url`.

    The columns are those of `arrow.schema(of, account=True, money=money)`, as Arrow dtypes of pandas, with text that
    repeats as plain text.

    Raises:
        ValueError: for an argument out of range, an account that is not known or named twice, and as `find_accounts`.
        OSError: if the file of accounts cannot be read.

    Computing it raises what reading a stream does, also an IncompleteWindowError where a partition ends after now.
    """
    for option in _NOT_FORWARDED.keys() & options.keys():
        message = f"{option} cannot be sent to the workers: {_NOT_FORWARDED[option]}"
        raise ValueError(message)
    window = _range(start, end)
    empty = _frame([], of, money)
    found = _find(accounts)
    for account in found.values():
        account.session(**options).records(start, end, of=of, where=where)  # checks the arguments, sends nothing
    parts = [(name, part) for name in found for part in _adjacent(window, span)]
    if not parts:
        return dd.from_pandas(empty, npartitions=1)
    return dd.from_map(
        _read_partition,
        *zip(*parts, strict=True),
        of=of,
        where=dict(where or {}),
        options=dict(options),
        money=money,
        meta=empty,
        label="itnio-records",
    )


def _find(accounts: Iterable[str]) -> dict[str, Account]:
    """Return the accounts to read by their names, each named once."""
    if isinstance(accounts, str):
        message = f"accounts are names such as [{accounts!r}], not the text {accounts!r}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    names = list(accounts)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"accounts named twice would be counted twice: {', '.join(twice)}"
        raise ValueError(message)
    return find_accounts(names)


def _range(start: datetime, end: datetime | None) -> Window | None:
    """Return the seconds of a range; an end of None is the last second that is over on this machine's clock."""
    if end is not None:
        return whole_seconds(start, end)
    now = datetime.now(UTC)
    window = whole_seconds(start, now)
    last = floor(now) - SECOND
    return Window(window.start, last) if window and window.start < last else None


def _adjacent(window: Window | None, span: timedelta) -> Iterator[Window]:
    """Cut a window into ranges of `span` that touch: adjacent calls return each record once."""
    if not isinstance(span, timedelta) or span < SECOND or span % SECOND:
        message = f"span must be a timedelta of whole seconds, from one, not {span!r}"
        raise ValueError(message)
    if window is None:
        return
    start = window.start
    while start < window.end:
        end = start + min(span, window.end - start)
        yield Window(start, end)
        start = end


def _read_partition(
    account: str,
    window: Window,
    *,
    of: type[CallRecord],
    where: Mapping[str, str],
    options: SessionOptions,
    money: pa.DataType,
) -> pd.DataFrame:
    """Read a partition, in an event loop of its own, because tasks run in any thread."""

    async def read() -> list[pa.RecordBatch]:
        async with find_accounts([account])[account].session(**options) as session:
            stream = session.records(window.start, window.end, of=of, where=where)
            batches = [record_batch(done.records, of, account=account, money=money) async for done in stream.windows()]
        if unread := stream.unread:
            message = (
                f"account {account}: {window} cannot be read completely: by the clock it is not yet {unread[0].end}: "
                f"end the range before now, by some minutes if clocks may differ"
            )
            raise IncompleteWindowError(message, window=unread[0], received=sum(map(len, batches)))
        return batches

    with start_blocking_portal() as portal:
        return _frame(portal.call(read), of, money)


def _frame(batches: list[pa.RecordBatch], of: type[CallRecord], money: pa.DataType) -> pd.DataFrame:
    """Return batches as a DataFrame, whose dtypes are the same without any."""
    columns = schema(of, account=True, money=money)
    return pa.Table.from_batches(batches, schema=columns).to_pandas(types_mapper=pandas_dtype)
