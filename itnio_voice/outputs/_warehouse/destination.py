"""Loading a dlt source into a destination: DuckDB's file, drivers, temporary files, and no telemetry."""

import errno
import logging
import os
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dlt
import duckdb
from dlt.common.exceptions import DltException, SignalReceivedException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.pipeline import trace, track

from ..._extras import install_command
from .errors import Redactor, failure_of
from .indexes import create_indexes

__all__ = ["load"]

_LOGGER = logging.getLogger("itnio_voice.warehouse")

_CATALOG = "itnio_voice_file"

_UNREPORTED: ContextVar[bool] = ContextVar("unreported", default=False)
"""Whether dlt's telemetry must not report what runs in this context."""


def load(source: Any, *, destination: str, database: Path, dataset: str) -> tuple[str, dict[str, int]]:
    """Load a dlt source, and return the dataset's name at the destination and the number of rows of each table.

    `database` is DuckDB's file. If it is new, only its owner can read it.

    Raises:
        ValueError: for a destination that is unknown, cannot merge, lacks a driver or is configured wrongly.
        OSError: if the destination cannot be written.
    """
    redact = Redactor()
    try:
        with tempfile.TemporaryDirectory(prefix="itnio_voice-") as folder, _no_telemetry(), _no_log(redact):
            target = _duckdb(database.absolute(), folder) if destination == "duckdb" else destination
            return _run(source, target, dataset, folder, redact)
    except (DltException, ImportError, duckdb.Error, OSError) as error:
        failure = failure_of(error, destination, redact)
    if isinstance(failure, SignalReceivedException):
        signal.raise_signal(failure.signal_code)  # dlt has intercepted it: now its own handler runs
    # Raised here, the error has neither cause nor context. Those would hold dlt's frames, with the credentials.
    raise failure


def _run(source: Any, target: Any, dataset: str, folder: str, redact: Redactor) -> tuple[str, dict[str, int]]:
    """Run a pipeline with its files in a folder. It reads the state of earlier runs from the destination."""
    pipeline = dlt.pipeline("itnio_voice", pipelines_dir=folder, destination=target, dataset_name=dataset)
    form: Any = _table_format(pipeline)
    _ = pipeline.destination.client_class  # imports the driver, before any record is requested
    redact.learn(pipeline.destination)
    pipeline.run(source, table_format=form)
    create_indexes(pipeline, redact)
    done: Any = pipeline.last_trace
    return done.last_load_info.dataset_name, dict(done.last_normalize_info.row_counts)


class _SqlClient(DuckDbSqlClient):  # type: ignore[misc]  # dlt's types are not followed
    """Names each table with the catalog: a dataset that is named like DuckDB's file is ambiguous without it."""

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str:  # noqa: ARG002, FBT001, FBT002
        return _CATALOG

    def warn_if_catalog_equals_dataset_name(self) -> None:
        """Do nothing: no name is ambiguous here."""


class _Client(DuckDbClient):  # type: ignore[misc]
    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        self.sql_client = _SqlClient(*self.create_dataset_names(schema, config), config.credentials, capabilities)


class _DuckDb(dlt.destinations.duckdb):  # type: ignore[misc]
    @property
    def client_class(self) -> type[_Client]:
        return _Client


def _duckdb(path: Path, folder: str) -> _DuckDb:
    """Return the destination for a file of DuckDB's: an empty database in a folder, to which the file is attached.

    DuckDB names the catalog of a database that it opens by the file, but one that it attaches as it is requested.
    """
    _create(path)
    quoted = str(path).replace("'", "''")
    credentials = DuckDbCredentials(
        str(Path(folder) / "main.duckdb"), statements=[f"ATTACH IF NOT EXISTS '{quoted}' AS {_CATALOG}"]
    )
    return _DuckDb(credentials, destination_name="duckdb")


def _create(path: Path) -> None:
    """Create a database that only its owner can read, unless it exists. Permissions are set before it gets its name."""
    if path.exists() or path.is_symlink():
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    with tempfile.TemporaryDirectory(prefix=".itnio_voice-", dir=path.parent) as folder:
        new = Path(folder) / "new.duckdb"
        duckdb.connect(str(new)).close()
        new.chmod(0o600)
        with suppress(FileExistsError):  # another run was faster
            os.link(new, path)


def _table_format(pipeline: Any) -> str | None:
    """Return the table format with which a destination merges; None for its own.

    Raises:
        ValueError: if it would append instead, which would double records that are read again.
    """
    name, able = pipeline.destination.destination_name, pipeline.destination.capabilities()
    if "delete-insert" in (able.supported_merge_strategies or ()):
        return None
    if "delta" not in (able.supported_table_formats or ()):
        message = f"{name} cannot merge, so records would be duplicated: choose another destination"
        raise ValueError(message)
    if not find_spec("deltalake"):
        message = f"{name} merges Delta tables only, and deltalake is not installed: {install_command('deltalake')}"
        raise ValueError(message)
    return "delta"


class _Tracking:
    """dlt's telemetry of pipelines, without those of `load`."""

    def __getattr__(self, name: str) -> Any:
        return _ignore if _UNREPORTED.get() else getattr(track, name)


def _ignore(*_: object) -> None:
    pass


@contextmanager
def _no_telemetry() -> Generator[None]:
    """Keep what runs in this context out of dlt's telemetry; other pipelines are reported as before."""
    modules: list[Any] = trace.TRACKING_MODULES
    modules[:] = [_Tracking() if module is track else module for module in modules]
    token = _UNREPORTED.set(True)
    try:
        yield
    finally:
        _UNREPORTED.reset(token)


@contextmanager
def _no_log(redact: Redactor) -> Generator[None]:
    """Log dlt's messages at DEBUG as `itnio_voice.warehouse`, without credentials, and not where dlt logs them."""

    def divert(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            text = f"{text}: {redact.line(record.exc_info[1])}"
        _LOGGER.debug("dlt: %s", redact(text))
        return False

    log = logging.getLogger("dlt")
    log.addFilter(divert)
    try:
        yield
    finally:
        log.removeFilter(divert)
