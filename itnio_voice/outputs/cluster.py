"""Records to a Dask DataFrame with a partition per account and window. Extra `dask`."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Unpack

from .._client.session import SessionOptions
from .._extras import needs
from .._model.records import CallRecord, VoiceRecord
from .._model.windows import LONGEST

with needs("dask"):
    import dask.dataframe as dd
    import pandas as pd
    import pyarrow as pa
    from dask.dataframe.extensions import make_scalar

    from .arrow import MONEY
    from .partitions import Partition, check_options, find_each, partition_schema, partition_table, partitions

__all__ = ["read_records"]


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

    The partitions are those of `partitions.partitions(accounts, start, end, span=span)`, and each is read as by
    `partitions.read_partition`. Only the names of the accounts are sent to the workers. `of` and `where` are as in
    `VoiceSession.records`, and `money` as in `arrow.schema`. `options` are those of the `VoiceSession` that each
    partition opens, without `http_client` and `base_url`.

    The columns are those of `partitions.partition_schema(of, money=money)`, as Arrow dtypes of pandas. Times are
    `datetime64[us, UTC]`, because Dask resamples no Arrow times.

    Raises:
        ValueError: for an argument out of range, an account that is not known or named twice, and as `find_accounts`.
        OSError: if the file of accounts cannot be read.

    Computing it raises what reading a stream does, also an IncompleteWindowError where a partition ends after now.
    """
    check_options(options)
    found = find_each(accounts)
    parts = partitions(found, start, end, span=span)
    for account in found.values():
        account.session(**options).records(start, end, of=of, where=where)  # checks the arguments, sends nothing
    empty = _frame(partition_schema(of, money=money).empty_table())
    if not parts:
        return dd.from_pandas(empty, npartitions=1)
    return dd.from_map(
        _read,
        parts,
        of=of,
        where=dict(where or {}),
        money=money,
        options=dict(options),
        meta=empty,
        label="itnio-records",
    )


def _read(
    partition: Partition,
    *,
    of: type[CallRecord],
    where: Mapping[str, str],
    money: pa.DataType,
    options: SessionOptions,
) -> pd.DataFrame:
    """Read a partition, also in the thread of an event loop, such as a notebook's with the synchronous scheduler."""
    return _frame(partition_table(**partition, of=of, where=where, money=money, **options))


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame, whose dtypes do not depend on its values."""
    return table.to_pandas(types_mapper=_dtype)


def _dtype(column: pa.DataType) -> pd.ArrowDtype | None:
    """Return a column's dtype; None for the dtype that pandas gives it."""
    return None if pa.types.is_timestamp(column) else pd.ArrowDtype(column)
