"""The exceptions of dlt and of database drivers, as one error of one line without credentials."""

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from tempfile import gettempdir
from typing import Any
from urllib.parse import quote, quote_plus

from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.destination.exceptions import InvalidDestinationReference, UnknownDestinationModule

from ..._extras import EXTRAS, install_command
from .extraction import MoneyError

__all__ = ["Redactor", "failure_of"]

_HIDDEN = "***"
_URL_SECRET = re.compile(r"(:/{1,3}|%3A%2F%2F)(?:[^\s/]\S*|[^\s:/@]*:[^@\n]*)(@|%40)", re.IGNORECASE)
"""What a URL has between its scheme and its last @: a user and a password, which may hold spaces."""
_NAMED_SECRET = re.compile(
    r"""((?:password|passwd|pwd|token|secret|(?:api|access|private)_?key)\w*['"]?\s*(?:=|%3D|:(?=\s*['"]))\s*)"""
    r"""('[^']*'|"[^"]*"|[^\s&;,'")\]}]+)""",
    re.IGNORECASE,
)
"""A secret with its name: a query parameter, a setting of a connection string, or an entry of a dictionary."""
_SHORTEST = 4
"""Shorter secrets are parts of ordinary words."""


class Redactor:
    """Removes credentials from text: those in URLs, those that have a name, and those of a destination."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def learn(self, destination: Any) -> None:
        """Remember the secrets with which a destination is configured, as they are and as URLs have them."""
        with suppress(Exception):  # an error in the configuration is reported when dlt reads it
            credentials = destination.configuration(destination.spec(), accept_partial=True).credentials
            hints = credentials.get_resolvable_fields()
            found = {str(credentials[name]) for name, hint in hints.items() if is_secret_hint(hint)}
            forms = {form for text in found for form in (text, quote(text, safe=""), quote(text), quote_plus(text))}
            self._secrets = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return a text without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _NAMED_SECRET.sub(rf"\1{_HIDDEN}", _URL_SECRET.sub(rf"\1{_HIDDEN}\2", text))

    def line(self, error: BaseException) -> str:
        """Return the first line of an error's text, without credentials and control characters."""
        first = self(str(error)).strip().partition("\n")[0]
        return "".join(character if character.isprintable() else " " for character in first)


def failure_of(error: BaseException, destination: str, redact: Redactor) -> BaseException:
    """Return the error to raise for one of dlt's: a new one, without references to dlt's frames.

    It is a ValueError if other arguments, credentials or packages help, else an OSError. An interrupt is returned as
    it is.
    """
    chain = list(_chain(error))
    if interrupt := next((each for each in chain if not isinstance(each, Exception)), None):
        return interrupt
    name = redact(destination)
    for each in chain:
        if isinstance(each, MoneyError):
            return ValueError(str(each))
        if isinstance(each, UnknownDestinationModule | InvalidDestinationReference):
            return ValueError(f"dlt has no destination {name!r}: choose one such as duckdb, postgres or filesystem")
        if isinstance(each, ImportError):
            packages = getattr(each, "dependencies", [f"dlt[{name}]"])
            command = " ".join(["pip install", *(f"'{package}'" for package in packages)])
            command = install_command(destination) if destination in EXTRAS else command
            return ValueError(f"the driver of {name} is not installed: {command}")
        if isinstance(each, ConfigurationException):
            reason = redact.line(each).partition(". ")[0]
            fields = getattr(each, "fields", ["credentials"])
            variables = " and ".join(f"DESTINATION__{name.upper()}__{field.upper()}" for field in fields)
            return ValueError(f"the credentials of {name} are missing or wrong: {reason}: set {variables}")
    return _system_error(chain, redact)


def _system_error(chain: list[BaseException], redact: Redactor) -> OSError:
    """Return an error that names the step that failed, its table, and the root cause."""
    root = next((each for each in chain if isinstance(each, OSError)), chain[-1])
    if isinstance(root, OSError) and root.filename:
        return OSError(root.errno, root.strerror, redact(str(root.filename)))
    if isinstance(root, OSError) and root.errno == errno.ENOSPC:
        return OSError(root.errno, "the disk is full: of the destination, or of the temporary folder", gettempdir())
    line = f"{type(root).__name__}: {redact.line(root)}"
    if pipe := _attribute(chain, "pipe_name"):
        return OSError(f"reading {pipe} failed: {line}")
    job = _attribute(chain, "job_id").partition(".")[0]
    return OSError(f"the destination failed{job and f' with the table {job}'}: {line}")


def _attribute(chain: list[BaseException], name: str) -> str:
    """Return the first value that an error of a chain has in an attribute, as text; "" if there is none."""
    return next((str(value) for each in chain if (value := getattr(each, name, None))), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and what it was raised from, down to the root."""
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
