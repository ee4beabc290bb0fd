"""Records to Arrow: the schema of a kind, record batches and tables. Extra `arrow`.

Columns have the attribute names. Money and rates are `decimal128(18, 8)`, or another decimal type (`money=`): an amount
that does not fit exactly is an error. Times are microseconds in UTC, text that repeats is dictionary-encoded, and
`extra` is JSON text.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Unpack, cast

import anyio
import anyio.lowlevel
import attrs
from anyio.from_thread import start_blocking_portal

from .._client.accounts import Account, find_accounts, open_sessions
from .._client.merging import merge
from .._client.session import SessionOptions
from .._client.stream import PrefetchedStream, RecordStream
from .._extras import needs
from .._model.errors import DecodeError, IncompleteWindowError
from .._model.records import CallRecord, R, VoiceRecord
from .._model.windows import Window
from .._wire.endpoints import endpoint_of
from .text import json_text

with needs("arrow"):
    import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["read_table", "record_batch", "record_batches", "schema", "to_pandas", "to_polars", "to_table"]

ROWS = 50_000
"""Rows of a record batch, by default."""

MONEY = pa.decimal128(18, 8)
"""The type of amounts, by default. The product of two of them has 37 digits, so it fits into a `decimal128`."""
WIDEST_MONEY = pa.decimal128(38, 18)
"""The type of amounts with as many decimals as possible, in which stored amounts are compared."""

REPEATING = pa.dictionary(pa.int32(), pa.string())

_TYPES: Mapping[object, pa.DataType] = {
    str | None: pa.string(),
    int | None: pa.int64(),
    datetime | None: pa.timestamp("us", tz="UTC"),
    Mapping[str, Any]: pa.string(),
}
_REPEATS = frozenset(
    {
        "bill_period",
        "code",
        "currency",
        "display_num",
        "feedback_value",
        "phone_name",
        "sip_group_name",
        "termination_code",
        "termination_reason",
        "voice_file_id",
    }
)


def schema(of: type[CallRecord] = VoiceRecord, *, account: bool = False, money: pa.DataType = MONEY) -> pa.Schema:
    """Return the schema of a kind of record: a column per attribute, in their order, each nullable.

    With `account`, a column of that name comes first. `money` is the type of amounts and rates, a decimal type.

    Raises:
        ValueError: for a class that is no kind of record, or has a field of a type that has no Arrow type here, or for
            `money` that is no `decimal128` with 0 to 18 decimals.
    """
    endpoint_of(of)
    types = {**_TYPES, Decimal | None: decimal_type(money)}
    fields = attrs.fields(attrs.resolve_types(of))
    for field in fields:
        if field.type not in types:
            message = (
                f"{of.__name__}.{field.name} is {field.type}, which has no Arrow type here: make columns of your own"
            )
            raise ValueError(message)
    columns = [(field.name, REPEATING if field.name in _REPEATS else types[field.type]) for field in fields]
    return pa.schema([("account", REPEATING), *columns] if account else columns)


def record_batch(
    records: Sequence[R],
    of: type[R] = VoiceRecord,  # type: ignore[assignment]  # what R defaults to where `of` is left out
    *,
    account: str | None = None,
    money: pa.DataType = MONEY,
) -> pa.RecordBatch:
    """Return records of a kind as one batch; with `account`, its name is a column of each row.

    `money` is the type of amounts and rates. The default holds 10 digits before the point and 8 decimals.

    Raises:
        DecodeError: for an amount that `money` cannot hold exactly, an integer of more than 64 bits, a time that is no
            microsecond of Arrow, or text that is not Unicode. It names record, field and value.
        ValueError: as `schema` does.
    """
    columns = schema(of, account=account is not None, money=money)
    return pa.record_batch([_column(records, column, account) for column in columns], schema=columns)


def record_batches(
    stream: RecordStream[R] | PrefetchedStream[R],
    *,
    size: int = ROWS,
    account: str | None = None,
    money: pa.DataType = MONEY,
) -> AsyncIterator[pa.RecordBatch]:
    """Read a stream as batches of `size` rows, the last one of what is left; none for an empty stream.

    The stream may be read ahead: pass what `async with stream.prefetch()` returns.

    `account` and `money` are as in `record_batch`. A window counts in `stream.checkpoint` only after the batch with
    its last record has been returned and another is requested. A batch may end inside a window, so a stream that is
    resumed may return some records again: to resume exactly, write `stream.windows()` with `record_batch`.

    Raises:
        ValueError: for a size that is not a whole number from 1, and as `schema` does.
        ItnioError: as the stream does, and as `record_batch` does.
    """
    if type(size) is not int or size < 1:
        message = f"size must be a whole number from 1, not {size!r}"
        raise ValueError(message)
    decimal_type(money)
    if isinstance(stream, PrefetchedStream):
        ahead = stream
        return ahead._begin(lambda: _Batches(ahead._stream, size, account, money))  # noqa: SLF001 -- another way to read it
    return _Batches(stream, size, account, money)


async def to_table(stream: RecordStream[R], *, money: pa.DataType = MONEY) -> pa.Table:
    """Read a stream into a table, which has all columns even without records.

    A DataFrame is one call away: with `calls = await to_table(…)`, that is `polars.from_arrow(calls)`,
    `calls.to_pandas()` or `duckdb.sql("FROM calls")`.

    As with `stream.collect()`, the stream's checkpoint and progress move when it returns. `money` is as in
    `record_batch`.

    Raises:
        ItnioError: as the stream does, and as `record_batch` does.
        ValueError: as `schema` does, before anything is requested.
    """
    columns = schema(stream.of, money=money)
    async with stream.prefetch() as ahead:
        reading = record_batches(ahead, money=money)
        with stream._delivery.hold():  # noqa: SLF001 -- another way to read a stream
            batches = [batch async for batch in reading]
            return pa.Table.from_batches(batches, schema=columns).unify_dictionaries()


def read_table(
    start: datetime,
    end: datetime | None = None,
    *,
    accounts: Iterable[str] | Mapping[str, Account] = (),
    of: type[CallRecord] = VoiceRecord,
    where: Mapping[str, str] | None = None,
    money: pa.DataType = MONEY,
    **options: Unpack[SessionOptions],
) -> pa.Table:
    """Return the records of accounts from `start` to `end` as one table: a blocking call, for scripts and schedulers.

    `accounts` are names that `find_accounts` finds, or its result; without names, all accounts that it finds. They are
    read at the same time, in an event loop of their own. The column `account` comes first, and the rows of an account
    are adjacent. `start`, `end`, `of` and `where` are as in `VoiceSession.records`, `money` as in `record_batch`, and
    `options` those of `VoiceSession`.

    Raises:
        RuntimeError: in an event loop, which it would block.
        ValueError: for a wrong argument or account, before anything is requested.
        OSError: if the file of accounts cannot be read.
        IncompleteWindowError: if `end` is not over yet on a server's clock.
        ItnioError: if an account cannot be read, with its name in a note, and as `record_batch` does.
    """
    refuse_event_loop(
        "read_table() would block the event loop that runs here: "
        "use `await to_table(session.records(start, end))`, or call it in a thread: "
        "`await anyio.to_thread.run_sync(read_table, start, end)`"
    )
    if isinstance(accounts, str) or not isinstance(accounts, Iterable):
        message = f"accounts must be names such as ['default'], not {accounts!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    found = accounts if isinstance(accounts, Mapping) else find_accounts(accounts)
    if not found:
        message = "no account to read: accounts must not be empty"
        raise ValueError(message)
    columns = schema(of, account=True, money=money)
    for account in found.values():
        account.session(**options).records(start, end, of=of, where=where)  # checks the arguments, sends nothing

    async def read() -> list[pa.RecordBatch]:
        batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in found}
        async with open_sessions(found, **options) as sessions, AsyncExitStack() as stack:
            streams = {name: each.records(start, end, of=of, where=where) for name, each in sessions.items()}
            ahead = {name: await stack.enter_async_context(each.prefetch()) for name, each in streams.items()}
            reading = {name: record_batches(each, account=name, money=money) for name, each in ahead.items()}
            async with merge(reading, buffer=1) as merged:
                async for name, batch in merged:
                    batches[name].append(batch)
        for name, stream in streams.items():
            if end is not None and stream.unread:
                raise unread_error(name, stream.unread[0], sum(map(len, batches[name])))
        return list(chain.from_iterable(batches.values()))

    with start_blocking_portal() as portal:
        return pa.Table.from_batches(portal.call(read), columns).unify_dictionaries()


def unread_error(account: str, window: Window, received: int) -> IncompleteWindowError:
    """Return the error for the part of an account's range that could not be read, because it is not over."""
    message = f"account {account}: {window} is not over on the server's clock: end the range some minutes earlier"
    return IncompleteWindowError(message, window=window, received=received)


def to_pandas(
    records: Iterable[R], of: type[R] | None = None, *, account: str | None = None, money: pa.DataType = MONEY
) -> "pd.DataFrame":
    """Return records as a pandas DataFrame with Arrow dtypes, in which money is exact. pandas must be installed.

    `of` is their kind, by default that of the first record; the rest is as in `record_batch`.

    Raises:
        DecodeError: as `record_batch` does.
        ValueError: for records of several kinds, and as `schema` does.
    """
    return _batch_of(records, of, account, money).to_pandas(types_mapper=pandas_dtype)


def to_polars(
    records: Iterable[R], of: type[R] | None = None, *, account: str | None = None, money: pa.DataType = MONEY
) -> "pl.DataFrame":
    """Return records as a polars DataFrame, in which money is exact. polars must be installed.

    `of` is their kind, by default that of the first record; the rest is as in `record_batch`.

    Raises:
        DecodeError: as `record_batch` does.
        ValueError: for records of several kinds, and as `schema` does.
    """
    import polars as pl  # noqa: PLC0415 -- optional

    return cast("pl.DataFrame", pl.from_arrow(_batch_of(records, of, account, money)))


def pandas_dtype(column: pa.DataType) -> Any:
    """Return a column's dtype: not a dictionary, which pandas cannot use with `isin` nor read back from Parquet."""
    import pandas as pd  # noqa: PLC0415 -- optional

    return pd.ArrowDtype(plain_type(column))


def plain_type(column: pa.DataType) -> pa.DataType:
    """Return a column's type, with a dictionary replaced by the type of its values."""
    return column.value_type if isinstance(column, pa.DictionaryType) else column


def refuse_event_loop(message: str) -> None:
    """Refuse a call that blocks where an event loop is running in this thread.

    Raises:
        RuntimeError: with the message, if one is running.
    """
    with suppress(anyio.NoEventLoopError):
        anyio.lowlevel.current_token()
        raise RuntimeError(message)


def _batch_of(records: Iterable[R], of: type[R] | None, account: str | None, money: pa.DataType) -> pa.RecordBatch:
    found = list(records)
    kind: Any = of or (type(found[0]) if found else VoiceRecord)
    if other := next((record for record in found if not isinstance(record, kind)), None):
        message = f"the records must be of one kind: there are {kind.__name__} and {type(other).__name__}"
        raise ValueError(message)
    return record_batch(found, kind, account=account, money=money)


class _Batches(Generic[R]):
    """The iterator over batches. It is not a generator, so a consumer may stop early without closing it."""

    def __init__(self, stream: RecordStream[R], size: int, account: str | None, money: pa.DataType) -> None:
        stream._begin(complete_windows=False)  # noqa: SLF001 -- another way to read a stream
        self._stream = stream
        self._account = account
        self._money = money
        self._size = size
        self._records: list[R] = []

    def __aiter__(self) -> "_Batches[R]":
        return self

    async def __anext__(self) -> pa.RecordBatch:
        while len(self._records) < self._size:
            chunk = await self._stream._next_chunk()  # noqa: SLF001 -- as above
            if chunk is None:
                break
            self._records += chunk.records
        if not self._records:
            raise StopAsyncIteration
        records = self._records[: self._size]
        batch = record_batch(records, self._stream.of, account=self._account, money=self._money)
        del self._records[: self._size]
        self._stream._delivery.records += batch.num_rows  # noqa: SLF001 -- as above
        return batch


def to_scale(money: Any) -> Callable[[Decimal], Decimal]:
    """Return the function that returns an amount with the scale of a decimal type.

    It raises an ArithmeticError for an amount that the type cannot hold exactly.
    """
    unit = Decimal(1).scaleb(-money.scale)
    exact = Context(prec=money.precision, traps=[Inexact, InvalidOperation])
    return lambda amount: amount.quantize(unit, context=exact)


def money_in(columns: pa.Schema) -> pa.DataType:
    """Return the type of amounts and rates in columns of a kind of record."""
    found: pa.DataType = columns.field("cost").type
    return found


def decimal_type(money: object) -> pa.DataType:
    """Return the type of amounts.

    Raises:
        ValueError: if it is no `decimal128` with at most 18 decimals, which all tools and this package can read.
    """
    if isinstance(money, pa.Decimal128Type) and 0 <= money.scale <= min(money.precision, WIDEST_MONEY.scale):
        return money
    message = f"money must be a decimal type such as pa.decimal128(38, 18), with 0 to 18 decimals, not {money!r:.80}"
    raise ValueError(message)


def _column(records: Sequence[CallRecord], column: "pa.Field[Any]", account: str | None) -> "pa.Array[Any]":
    """Return a column's values."""
    if column.name == "account":
        return pa.array([account] * len(records), REPEATING)
    values: Sequence[Any] = [getattr(record, column.name) for record in records]
    if column.name == "extra":
        values = [json_text(value) if value else None for value in values]
    try:
        return _array(values, column.type)
    except (ArithmeticError, ValueError):
        for record, value in zip(records, values, strict=True):
            _check(record, column, value)
        raise


def _array(values: Sequence[Any], of: pa.DataType) -> "pa.Array[Any]":
    """Return values as an array. Amounts get the scale of their column here: pyarrow reads some wrongly, or crashes."""
    if pa.types.is_decimal(of):
        scaled = to_scale(of)
        values = [scaled(value) if isinstance(value, Decimal) else value for value in values]
    return pa.array(values, of)


def _check(record: CallRecord, column: "pa.Field[Any]", value: Any) -> None:
    """Raise an error that names a value that does not fit into its column."""
    try:
        _array([value], column.type)
    except (ArithmeticError, ValueError) as error:
        message = f"{value!r:.80} does not fit into the column {column.name} ({column.type}), record {record.voice_id}"
        if pa.types.is_decimal(column.type):
            message += ": choose a wider type with money=, such as pa.decimal128(38, 18)"
        raise DecodeError(message, voice_id=record.voice_id, field=column.name, value=value) from error
