"""The index of PostgreSQL by which a merge finds the rows that it replaces."""

import logging
from typing import Any

from dlt.common.exceptions import DltException

from .errors import Redactor
from .rows import KEY, TABLES

__all__ = ["create_indexes"]

_LOGGER = logging.getLogger("itnio_voice.warehouse")


def create_indexes(pipeline: Any, redact: Redactor) -> None:
    """Create an index on the key of each table, unless it exists. Only PostgreSQL needs one.

    Without it, a merge of a few rows reads the complete table. An index that cannot be created, because another user
    owns the table for example, is a warning: the rows are loaded.
    """
    if pipeline.destination.destination_name != "postgres":
        return
    with pipeline.sql_client() as client:
        for table in TABLES:
            place, name = client.make_qualified_table_name(table), f"{table}_{'_'.join(KEY)}"
            try:
                client.execute_sql(f'CREATE INDEX IF NOT EXISTS "{name}" ON {place} ({", ".join(KEY)})')
            except DltException as error:
                _LOGGER.warning("the index of %s was not created, so merges are slow: %s", table, redact.line(error))
