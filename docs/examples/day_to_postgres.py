"""Load the call records of a day into PostgreSQL, with ADBC or with SQLAlchemy: a day that is loaded again is replaced.

    python day_to_postgres.py adbc postgresql://loader@db.example.com/calls
    python day_to_postgres.py sqlalchemy postgresql://loader@db.example.com/calls 2026-11-28

Without a day, it loads yesterday, in UTC. The accounts are those of the environment. The rows of a day are replaced in
one transaction, so the command can be killed at any time and run again.
"""

import sys
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from itnio_voice.outputs.arrow import read_table

COLUMNS = ["account", "voice_id", "callee", "submit_time", "call_duration", "cost", "currency"]


def read_day(day: date) -> pa.Table:
    """Return the records of a day as plain columns, the day first."""
    start = datetime.combine(day, time(), UTC)
    table = read_table(start, start + timedelta(days=1)).select(COLUMNS)
    plain = [pa.field(c.name, c.type.value_type if pa.types.is_dictionary(c.type) else c.type) for c in table.schema]
    days = pa.repeat(pa.scalar(day, pa.date32()), table.num_rows)
    return table.cast(pa.schema(plain)).add_column(0, "day", days)


def load_with_adbc(address: str, day: date) -> int:
    """Copy a day in PostgreSQL's binary format: no row becomes a Python object."""
    from adbc_driver_postgresql import dbapi

    table = read_day(day)
    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("calls", table.slice(0, 0), mode="create_append")
        cursor.execute("LOCK TABLE calls IN EXCLUSIVE MODE")  # one run at a time
        cursor.execute(f"DELETE FROM calls WHERE day = DATE '{day:%Y-%m-%d}'")
        cursor.adbc_ingest("calls", table, mode="append")
        connection.commit()
    return table.num_rows


def load_with_sqlalchemy(address: str, day: date) -> int:
    """Insert a day with SQLAlchemy. Amounts are `Decimal` on the way, and `NUMERIC` in the table."""
    import sqlalchemy as sa

    table = read_day(day)
    names = {"day": sa.Date, "submit_time": sa.DateTime(timezone=True), "call_duration": sa.BigInteger}
    columns = [sa.Column(c, names.get(c, sa.Numeric(18, 8) if c == "cost" else sa.Text)) for c in table.column_names]
    calls = sa.Table("calls", sa.MetaData(), *columns)
    engine = sa.create_engine(sa.make_url(address).set(drivername="postgresql+psycopg2"))
    with engine.begin() as connection:
        calls.create(connection, checkfirst=True)
        connection.execute(sa.text("LOCK TABLE calls IN EXCLUSIVE MODE"))  # one run at a time
        connection.execute(calls.delete().where(calls.c.day == day))
        if table.num_rows:
            connection.execute(calls.insert(), table.to_pylist())
    engine.dispose()
    return table.num_rows


LOADERS = {"adbc": load_with_adbc, "sqlalchemy": load_with_sqlalchemy}

if __name__ == "__main__":
    _, tool, where, *days = sys.argv
    chosen = date.fromisoformat(days[0]) if days else datetime.now(UTC).date() - timedelta(days=1)
    print(LOADERS[tool](where, chosen), "records written")
