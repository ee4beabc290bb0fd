"""Errors of destinations: one line, and no credentials."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from dlt.common.exceptions import MissingDependencyException
from dlt.destinations import postgres

from itnio_voice._extras import install_command
from itnio_voice.outputs._warehouse.errors import Redactor, failure_of


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://loader:s3cret@db.example.com/calls",
        "could not open 'postgresql://loader:s3cret%40x@db.example.com:5432/calls' in time",
        "postgresql://loader:s3cret@s3cret/s3cret@db.example.com/calls",
        "postgresql://loader:s3cret s3cret@db.example.com/calls",
        "postgresql:/loader:s3cret@db.example.com/calls",
        "postgresql%3A%2F%2Floader%3As3cret%40db.example.com%2Fcalls",
        "https://s3cret@db.example.com/",
        "postgresql://db.example.com/calls?sslmode=require&password=s3cret&user=loader",
        "host=db.example.com password='s3cret s3cret' dbname=calls",
        "host=db.example.com PASSWORD = s3cret dbname=calls",
        "{'host': 'db.example.com', 'password': 's3cret'}",
        '{"host": "db.example.com", "aws_secret_access_key": "s3cret"}',
        "host%3Ddb.example.com%26sslpassword%3Ds3cret",
        "db.example.com/?token=s3cret;",
    ],
)
def test_credentials_are_redacted(text: str) -> None:
    """Secrets in URLs and those with a name are replaced; the host stays."""
    shown = Redactor()(text)

    assert "s3cret" not in shown
    assert "db.example.com" in shown


@pytest.mark.parametrize(
    "text",
    [
        "FATAL: password authentication failed for user loader",
        "connection to server at 127.0.0.1, port 5432 failed: Connection refused",
        "see https://duckdb.org/docs/current/connect/concurrency",
        "10:30: an@address.example",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    """Only credentials are replaced."""
    assert text == Redactor()(text)


def test_secrets_of_the_destination_are_redacted() -> None:
    """A configured password is replaced anywhere, also as it is encoded in a URL."""
    redact = Redactor()
    redact.learn(postgres("postgresql://loader:p%40ss%2Fword@db.example.com/calls"))

    assert "*** and *** of loader" == redact("p@ss/word and p%40ss%2Fword of loader")
    assert "p@ss" not in repr(redact)


def test_an_error_is_one_line_of_printable_text() -> None:
    """The text is the first line of the root error, and a control character cannot reach a terminal."""
    error = RuntimeError("step failed:\nTraceback …")
    error.__cause__ = ValueError("\n no \x1b[31mtable\nDETAIL: postgresql://u:s3cret@h\n")
    failure = failure_of(error, "postgres", Redactor())

    assert isinstance(failure, OSError)
    assert "the destination failed: ValueError: no  [31mtable" == str(failure)
    assert (None, None) == (failure.__cause__, failure.__context__)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"job_id": "voice_records.0a1b.csv.gz"}, "the destination failed with the table voice_records: KeyError: 'x'"),
        ({"pipe_name": "sip_records"}, "reading sip_records failed: KeyError: 'x'"),
    ],
)
def test_an_error_names_the_table(attributes: dict[str, Any], text: str) -> None:
    """The table is that of dlt's job or resource."""
    error = RuntimeError("many lines")
    error.__cause__ = KeyError("x")
    vars(error).update(attributes)

    assert text == str(failure_of(error, "postgres", Redactor()))


@pytest.mark.parametrize(
    ("name", "error", "command"),
    [
        ("postgres", ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2"), install_command("postgres")),
        ("mssql", ModuleNotFoundError("No module named 'pyodbc'", name="pyodbc"), "pip install 'dlt[mssql]'"),
        ("mssql", MissingDependencyException("x", ["dlt[mssql]", "pyodbc"]), "pip install 'dlt[mssql]' 'pyodbc'"),
    ],
)
def test_a_missing_driver_is_an_error_with_the_install_command(name: str, error: Exception, command: str) -> None:
    """It is a ValueError, which the command line reports as wrong usage."""
    failure = failure_of(error, name, Redactor())

    assert isinstance(failure, ValueError)
    assert f"the driver of {name} is not installed: {command}" == str(failure)


def test_a_full_disk_is_an_error_that_says_so() -> None:
    """The type and number of the system's error stay."""
    failure = failure_of(OSError(errno.ENOSPC, "No space left on device"), "duckdb", Redactor())

    assert isinstance(failure, OSError)
    assert errno.ENOSPC == failure.errno
    assert "the disk is full" in str(failure)


def test_an_interrupt_is_returned() -> None:
    """An interrupt below an error of dlt is returned, also if it arrived while an error was handled."""
    error, interrupt = RuntimeError("step failed"), KeyboardInterrupt()
    error.__cause__, interrupt.__context__ = interrupt, ValueError("earlier")

    assert interrupt is failure_of(error, "duckdb", Redactor())


def test_a_destination_that_cannot_be_configured_teaches_nothing() -> None:
    """Learning secrets raises no error: dlt reports the defect."""
    redact = Redactor()
    redact.learn(SimpleNamespace())

    assert "text" == redact("text")
