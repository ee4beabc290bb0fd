"""Parts of a range, and the function that reads one as an Arrow table: the same on Dask, Ray and Spark. Extra `arrow`.

A partition is the name of an account and two times, as text: every engine passes text on unchanged. A worker looks the
account's credentials up by the name, so no secret is in a task, and reads the partition on its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from operator import index
from typing import Any, SupportsIndex, TypedDict, Unpack

from anyio.from_thread import start_blocking_portal

from .._client.accounts import Account, find_accounts
from .._client.session import SessionOptions
from .._extras import needs
from .._model.printable import printable
from .._model.records import CallRecord, VoiceRecord
from .._model.windows import LONGEST, SECOND, Window, floor, whole_seconds

with needs("arrow"):
    import pyarrow as pa

    from .arrow import MONEY, plain_type, record_batch, refuse_event_loop, schema, unread_error

__all__ = ["Partition", "mean_amount", "partition_schema", "partitions", "read_partition"]

_NOT_FORWARDED = {
    "base_url": "it belongs to an account, and is looked up by its name",
    "http_client": "each partition has a client of its own",
}
"""The options of a session that partitions cannot be given, and why."""
_LONGEST_SUM = 76
"""The most digits of a decimal in Arrow."""
_DIVISION = Context(prec=100, rounding=ROUND_HALF_UP)
"""Divides sums of up to `_LONGEST_SUM` digits so precisely that the mean is rounded once."""


class Partition(TypedDict):
    """A part of a range: the keyword arguments of `read_partition`, all text.

    `start` and `end` are in ISO 8601, in UTC, of whole seconds. So a partition is a row for any engine: Ray drops the
    time zones of datetimes, and Spark converts them.
    """

    account: str
    start: str
    end: str


def partitions(
    accounts: Iterable[str], start: datetime, end: datetime | None = None, *, span: timedelta = LONGEST
) -> list[Partition]:
    """Cut the records of accounts from `start` to `end` into partitions of `span`, by default 31 days.

    Nothing is requested. `accounts` are names that `find_accounts` finds, here and where the partitions are read;
    without names, all accounts that it finds here. `start` and `end` are as in `VoiceSession.records`, rounded down to
    whole seconds, but an `end` of None is the last second that is over on this machine's clock.

    The partitions of an account are adjacent, so together they have each record once: adjacent calls of
    `VoiceSession.records` tile.

    Raises:
        ValueError: for an argument out of range, an account that is not known or named twice, and as `find_accounts`.
        OSError: if the file of accounts cannot be read.
    """
    parts = list(_adjacent(_range(start, end), span))
    return [
        Partition(account=name, start=part.start.isoformat(), end=part.end.isoformat())
        for name in find_each(accounts)
        for part in parts
    ]


def partition_schema(of: type[CallRecord] = VoiceRecord, *, money: pa.DataType = MONEY) -> pa.Schema:
    """Return the schema of a partition of a kind of record.

    It is that of `arrow.schema(of, account=True, money=money)`, with text that repeats as plain text: Spark reads no
    dictionaries, and pandas neither selects by them nor reads them back from Parquet.

    Raises:
        ValueError: as `arrow.schema`.
    """
    columns = schema(of, account=True, money=money)
    return pa.schema([(column.name, plain_type(column.type)) for column in columns])


def read_partition(
    account: str,
    start: str | datetime,
    end: str | datetime,
    *,
    of: type[CallRecord] = VoiceRecord,
    where: Mapping[str, str] | None = None,
    money: pa.DataType = MONEY,
    **options: Unpack[SessionOptions],
) -> pa.Table:
    """Read the records of an account from `start` to `end` as one table, with the columns of `partition_schema`.

    It blocks, for use in a worker process or thread: `read_partition(**partition)`. The worker looks the account up
    with `find_accounts`. `start` and `end` are ISO 8601 text with an offset, or aware datetimes, and `of` and `where`
    are as in `VoiceSession.records`. `money` is the type of amounts and rates, as in `arrow.schema`. `options` are
    those of a `VoiceSession`, without `http_client` and `base_url`.

    A task may be retried or run twice: the rows are sorted by `submit_time`, `voice_id` and then the other columns, so
    the same records always make the same table. The table is complete, or an error is raised.

    Raises:
        ValueError: for an argument out of range or an account that is not known, and as `find_accounts` and
            `arrow.schema`.
        OSError: if the file of accounts cannot be read.
        RuntimeError: if an event loop is running in this thread.
        IncompleteWindowError: if the partition ends after now: its content would depend on the time of reading.
        ItnioError: as the stream does, and as `arrow.record_batch` does.
    """
    refuse_event_loop(
        "read_partition blocks, and an event loop is running in this thread: call it in another thread, with "
        "await anyio.to_thread.run_sync(…) or asyncio.to_thread(…), or read session.records() here"
    )
    return partition_table(account, start, end, of=of, where=where, money=money, **options)


def partition_table(
    account: str,
    start: str | datetime,
    end: str | datetime,
    *,
    of: type[CallRecord],
    where: Mapping[str, str] | None,
    money: pa.DataType,
    **options: Unpack[SessionOptions],
) -> pa.Table:
    """Read a partition as `read_partition` does, also where an event loop is running in this thread: it blocks it."""
    check_options(options)
    if not isinstance(account, str):
        message = f"account must be the name of an account, not {account!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    columns = schema(of, account=True, money=money)
    first, last = _instant("start", start), _instant("end", end)
    find_accounts([account])[account].session(**options).records(first, last, of=of, where=where)  # sends nothing
    window = whole_seconds(first, last)

    async def read(window: Window) -> list[pa.RecordBatch]:
        async with find_accounts([account])[account].session(**options) as session:
            stream = session.records(window.start, window.end, of=of, where=where)
            batches = [record_batch(done.records, of, account=account, money=money) async for done in stream.windows()]
        if stream.unread:
            raise unread_error(account, stream.unread[0], sum(map(len, batches)))
        return batches

    batches = []
    if window:
        with start_blocking_portal() as portal:
            batches = portal.call(read, window)
    table = pa.Table.from_batches(batches, schema=columns).cast(partition_schema(of, money=money))
    keys = dict.fromkeys(("submit_time", "voice_id", *table.column_names))
    return table.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def mean_amount(total: Decimal | None, count: int) -> Decimal | None:
    """Return the mean of `count` amounts from their sum, rounded once, half away from zero, to the decimals of `total`.

    That is the mean of `pyarrow.compute`, in all digits. Engines round means differently: Ray's mean of a group is a
    float, Dask's is an error, and Spark's has four more decimals. Their sums and counts are exact. The mean of no
    amounts is None.

    Raises:
        ValueError: if `total` is neither None nor a finite Decimal of at most 76 digits, or `count` is not a whole
            number from 0.
    """
    is_exact = isinstance(total, Decimal) and total.is_finite() and len(total.as_tuple().digits) <= _LONGEST_SUM
    if total is not None and not is_exact:
        message = (
            f"total must be a finite Decimal of at most {_LONGEST_SUM} digits, not {total!r:.80}: "
            f"a float has lost digits already"
        )
        raise ValueError(message)
    if not isinstance(count, SupportsIndex) or index(count) < 0:
        message = f"count must be a whole number from 0, not {count!r:.80}"
        raise ValueError(message)
    if total is None or not index(count):
        return None
    return _DIVISION.quantize(_DIVISION.divide(total, index(count)), total)


def find_each(accounts: Iterable[str]) -> dict[str, Account]:
    """Return the accounts to read by their names, each named once.

    Raises:
        ValueError: for text instead of names, a name twice, and as `find_accounts`.
        OSError: if the file of accounts cannot be read.
    """
    if isinstance(accounts, str):
        message = f"accounts are names such as [{accounts!r:.80}], not the text {accounts!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    names: list[Any] = list(accounts) if isinstance(accounts, Iterable) else [accounts]
    if wrong := [name for name in names if not isinstance(name, str)]:
        message = f"accounts are names such as ['default'], not {wrong[0]!r:.80}"
        raise ValueError(message)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"accounts named twice would be counted twice: {printable(', '.join(twice), 200)}"
        raise ValueError(message)
    return find_accounts(names)


def check_options(options: SessionOptions) -> None:
    """Refuse options that a worker cannot be given.

    Raises:
        ValueError: for `http_client` and `base_url`.
    """
    for option in sorted(_NOT_FORWARDED.keys() & options.keys()):
        message = f"{option} cannot be sent to the workers: {_NOT_FORWARDED[option]}"
        raise ValueError(message)


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


def _instant(name: str, value: str | datetime) -> datetime:
    """Return an end of a partition as a datetime; `whole_seconds` checks its offset."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        message = f"{name} must be ISO 8601 text with an offset, such as 2026-10-01T00:00:00+00:00, not {value!r:.80}"
    raise ValueError(message)
