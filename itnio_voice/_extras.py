"""The extras, the packages that each installs, and the error for a missing one, with the command that installs it."""

import json
import shlex
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["EXTRAS", "MissingExtraError", "install_command", "needs"]

_NAME = "itnio-voice"

EXTRAS: Mapping[str, frozenset[str]] = {
    "arrow": frozenset({"pyarrow"}),
    "cli": frozenset({"cyclopts", "rich", "tzdata"}),
    "dask": frozenset({"dask", "distributed", "pandas", "pyarrow"}),
    "deltalake": frozenset({"deltalake", "dlt", "duckdb", "pyarrow"}),
    "dlt": frozenset({"dlt", "duckdb", "pyarrow"}),
    "opentelemetry": frozenset({"opentelemetry"}),
    "postgres": frozenset({"dlt", "duckdb", "psycopg2", "pyarrow"}),
    "report": frozenset({"altair", "duckdb", "rich", "vl_convert"}),
    "sandbox": frozenset({"starlette", "uvicorn"}),
}
"""The packages that each extra installs, by their import names."""


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed. `name` is the package; the text has the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        message = f"{package} is not installed. Install the extra {extra!r}: {install_command(extra)}"
        super().__init__(message, name=package)


@contextmanager
def needs(extra: str) -> Generator[None]:
    """Explain an import in the `with` block that fails because an extra is not installed.

    Raises:
        MissingExtraError: for a missing package of the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise MissingExtraError(package, extra) from None


def install_command(extra: str) -> str:
    """Return the command that installs an extra of this package, from where the package itself was installed."""
    try:
        recorded = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        recorded = None
    origin = json.loads(recorded) if recorded else None
    return shlex.join([sys.executable, "-m", "pip", "install", *requirement(extra, origin)])


def requirement(extra: str, origin: Mapping[str, Any] | None) -> list[str]:
    """Return pip's arguments for an extra.

    `origin` is the content of the package's `direct_url.json` (PEP 610): a folder, an archive or a repository. It is
    None for a package from an index.
    """
    if origin is None:
        return [f"{_NAME}[{extra}]"]
    url = origin["url"]
    if "dir_info" in origin:
        path = f"{unquote(urlsplit(url).path)}[{extra}]"
        return ["-e", path] if origin["dir_info"].get("editable") else [path]
    repository = origin.get("vcs_info")
    place = f"{repository['vcs']}+{url}@{repository['commit_id']}" if repository else url
    return [f"{_NAME}[{extra}] @ {place}"]
