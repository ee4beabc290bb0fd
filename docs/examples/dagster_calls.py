"""A daily asset of Dagster: a Parquet file of call records for each day, in UTC.

    dagster dev -f dagster_calls.py

The accounts are those of the environment of the process that runs the step. A failed partition is run again from its
start; the file appears when it is complete.
"""

import os
from pathlib import Path

import dagster as dg
from pyarrow import parquet

from itnio_voice.outputs.arrow import read_table

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC")


@dg.asset(partitions_def=DAYS, retry_policy=dg.RetryPolicy(max_retries=2, delay=300))
def call_records(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Write the records of a day."""
    day = context.partition_time_window
    table = read_table(day.start, day.end)
    folder = Path(os.environ.get("CALLS_FOLDER", "calls"))
    folder.mkdir(exist_ok=True)
    path = folder / f"{context.partition_key}.parquet"
    part = path.with_suffix(".part")
    parquet.write_table(table, part)
    part.replace(path)
    return dg.MaterializeResult(metadata={"records": table.num_rows, "path": str(path)})


defs = dg.Definitions(assets=[call_records])
