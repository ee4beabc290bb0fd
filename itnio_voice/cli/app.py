"""The commands and their exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted, 141 a closed pipe.

As usual in a shell, 141 means that the reader of standard output has ended, and 143 that the command was terminated.

A command's module is imported when the command runs, because each needs different extras.
"""

import logging
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from .._model.errors import ItnioError
from .messages import AccountsError, UsageError, message_of
from .options import AccountOptions, KindOptions, Moment, Money, PaceOptions, ReadingOptions, RequestOptions
from .signals import READER_ENDED, interruptible
from .terminal import OUTPUT, end_output, flush_output, prepare_streams, print_error

__all__ = ["app", "run"]

FAILED, WRONG_USAGE = 1, 2
_ERRORS = (AccountsError, ItnioError, OSError, UsageError)
"""Errors that are printed as one line, without a traceback."""
_NO_OUTPUT = logging.NullHandler()
_RAISE: dict[str, Any] = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}

Count = Annotated[int, Parameter(validator=Number(gte=0))]
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]

_READING = ReadingOptions()
_KIND = KindOptions()
_PACE = PaceOptions()
_REQUESTS = RequestOptions()
_ACCOUNTS = AccountOptions()

app: App = App(
    name="itnio-voice",
    help="Read voice call records out of the ITNIO TECH voice API.",
    console=OUTPUT,
    suppress_keyboard_interrupt=False,
)


@app.command
def records(
    start: Moment,
    end: Moment = "now",
    /,
    *,
    limit: Annotated[
        Count | None, Parameter(name=["--limit", "-n"], help="At most this many. Default: 100 in a table, else all.")
    ] = None,
    oldest_first: Annotated[bool, Parameter(help="The oldest records first, not the newest.", negative="")] = False,
    columns: Annotated[
        str | None,
        Parameter(help="The columns or keys, such as submit_time,callee,cost. Default: a selection, or all keys."),
    ] = None,
    json: Annotated[bool, Parameter(help="JSON lines on a terminal too, instead of a table.", negative="")] = False,
    reading: ReadingOptions = _READING,
) -> None:
    """Print records, the newest first: on a terminal a table, else one JSON object per line."""
    from .commands import records as command  # noqa: PLC0415

    view = command.View(limit, oldest_first, columns, json)
    anyio.run(command.run, start, end, view, reading)


@app.command
def follow(
    *,
    start: Annotated[Moment | None, Parameter(help="Where to begin, if the state does not say. Default: now.")] = None,
    every: Annotated[str, Parameter(help="The time between two polls: 5s, 1m and so on.")] = "30s",
    lookback: Annotated[
        str, Parameter(help="A record is found if it appears within this time after its submit time.")
    ] = "10m",
    state: Annotated[
        Path | None,
        Parameter(help="A file that keeps how far each account was printed. The same command continues there."),
    ] = None,
    changes: Annotated[
        bool, Parameter(help="Print a record again when it has changed within the lookback.", negative="")
    ] = False,
    json: Annotated[bool, Parameter(help="JSON lines on a terminal too, instead of rows.", negative="")] = False,
    kind: KindOptions = _KIND,
) -> None:
    """Print records as they become visible, until interrupted: on a terminal rows, else one JSON object per line."""
    from .commands import follow as command  # noqa: PLC0415

    anyio.run(command.run, command.How(start, every, lookback, state, changes, json), kind)


@app.command
def count(
    start: Moment,
    end: Moment = "now",
    /,
    *,
    by: Annotated[
        Literal["day", "hour"] | None, Parameter(help="A line for each day or hour, by the clock of --timezone.")
    ] = None,
    reading: ReadingOptions = _READING,
) -> None:
    """Print the number of records, with few requests: on a terminal as bars, else as columns with tabs between."""
    from .commands import count as command  # noqa: PLC0415

    anyio.run(command.run, start, end, by, reading)


@app.command
def export(
    start: Moment,
    end: Moment = "now",
    /,
    *,
    output: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            help="A file that ends with .parquet, .csv, .jsonl or .arrow, or - for standard output.",
            allow_leading_hyphen=True,
        ),
    ],
    format: Annotated[  # noqa: A002 -- the option's name
        Literal["parquet", "arrow", "csv", "jsonl"] | None, Parameter(help="The format. Default: the file's ending.")
    ] = None,
    csv_safe: Annotated[
        bool,
        Parameter(help="CSV: put ' before text that a spreadsheet would run as a formula.", negative=""),
    ] = False,
    resume: Annotated[
        bool,
        Parameter(
            help="Keep what has been read in FILE.state. The same command continues where it was stopped, with the "
            "START of the first run. A finished file is left as it is, unless it was changed or a START or END such as "
            "1d or now has moved on: then it is exported again.",
            negative="",
        ),
    ] = False,
    money: Money = None,
    reading: ReadingOptions = _READING,
) -> None:
    """Write records to standard output, or to a file, which appears only when it is complete."""
    from .commands import export as command  # noqa: PLC0415

    target = command.Target(output, format, csv_safe=csv_safe, money=money, resume=resume)
    anyio.run(command.run, start, end, target, reading)


@app.command
def recordings(
    start: Moment,
    end: Moment = "now",
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="A folder. It is created if its parent folder exists.")
    ],
    reading: ReadingOptions = _READING,
) -> None:
    """Download the recordings of the records into a folder, and list them in its manifest.jsonl.

    The same command continues where it was stopped. The exit code is 1 if a recording is missing or has failed.
    """
    from .commands import recordings as command  # noqa: PLC0415

    if not anyio.run(command.run, start, end, output, reading):
        sys.exit(1)


@app.command
def sync(
    *,
    since: Annotated[Moment, Parameter(help="Start of the first run; each later run continues from the last one.")],
    destination: Annotated[str, Parameter(help="A destination of dlt: duckdb, postgres and so on.")] = "duckdb",
    database: Annotated[Path, Parameter(help="The DuckDB file.")] = Path("itnio_voice.duckdb"),
    dataset: Annotated[str, Parameter(help="The schema that holds the tables.")] = "itnio_voice",
    lookback: Annotated[
        str,
        Parameter(help="How much each run reads again, for late and changed records: 36h, 3d and so on."),
    ] = "3d",
    money: Money = None,
    requests: RequestOptions = _REQUESTS,
) -> None:
    """Bring a warehouse up to date with the records of both kinds."""
    from .commands import sync as command  # noqa: PLC0415

    done = command.run(
        since=since,
        destination=destination,
        database=database,
        dataset=dataset,
        lookback=lookback,
        money=money,
        requests=requests,
    )
    if not done:
        sys.exit(1)


@app.command
def report(
    source: Annotated[
        Path, Parameter(help="A file of `export` (.parquet, .arrow, .csv, .jsonl), or a DuckDB database of `sync`.")
    ],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The page.")] = Path("report.html"),
    timezone: Annotated[str, Parameter(help="The time zone of days and hours.")] = "UTC",
    dataset: Annotated[str | None, Parameter(help="The dataset to report, if the database has several.")] = None,
    open_page: Annotated[bool, Parameter(name="--open", help="Open the page in a browser.", negative="")] = False,
) -> None:
    """Write a page of figures, charts and tables of the records, and print its headline figures."""
    from .commands import report as command  # noqa: PLC0415

    command.run(source, output, timezone=timezone, dataset=dataset, open_page=open_page)


@app.command
def verify(
    source: Annotated[
        Path, Parameter(help="A DuckDB database of `sync`, or a file of `export` (.parquet, .arrow, .csv, .jsonl).")
    ],
    /,
    *,
    since: Annotated[
        Moment | None, Parameter(help="Start of what is compared. Default: as far back as the records go.")
    ] = None,
    until: Annotated[Moment | None, Parameter(help="End of what is compared. Default: where the records end.")] = None,
    by_id: Annotated[
        bool,
        Parameter(help="Compare all records with all their values, not only those of days that differ.", negative=""),
    ] = False,
    repair: Annotated[
        bool, Parameter(help="Merge missing and changed records into the database.", negative="")
    ] = False,
    dataset: Annotated[str | None, Parameter(help="The dataset to verify, if the database has several.")] = None,
    pace: PaceOptions = _PACE,
) -> None:
    """Compare stored records with those of the API. The exit code is 1 if they differ.

    Numbers of records are compared by day, and the records of days that differ by id.
    """
    from .commands import verify as command  # noqa: PLC0415

    how = command.How(since=since, until=until, dataset=dataset, by_id=by_id, repair=repair)
    if not anyio.run(command.run, source, how, pace):
        sys.exit(1)


@app.command
def check(*, accounts: AccountOptions = _ACCOUNTS) -> None:
    """Check the credentials, the clock, whether this address is allowed, and how far back records go."""
    from .commands import check as command  # noqa: PLC0415

    if not anyio.run(command.run, accounts):
        sys.exit(1)


@app.command
def probe(
    *,
    minutes: Annotated[
        float, Parameter(validator=Number(gte=0, lte=1440), help="Watch for this long how late records appear.")
    ] = 0,
    json: Annotated[bool, Parameter(help="Print JSON, for an issue report and for the sandbox.", negative="")] = False,
    sip: Annotated[bool, Parameter(help="Phone (SIP) records instead of voice messages.", negative="")] = False,
    rate: Annotated[float, Parameter(validator=Number(gt=0), help="At most this many requests per second.")] = 1,
    accounts: AccountOptions = _ACCOUNTS,
) -> None:
    """Measure what the vendor's pages leave open, by about 40 reads of one account.

    The output has no id, phone number or other text of a record.
    """
    from .commands import probe as command  # noqa: PLC0415

    anyio.run(partial(command.run, accounts, sip=sip, rate=rate, minutes=minutes, json=json))


@app.command
def demo(*, records: Count = 30_000, seed: int = 1) -> None:
    """Read two months of records of a sandbox: no credentials, no network.

    Parameters
    ----------
    records
        The number of records of the sandbox.
    seed
        The seed of the random records.

    """
    from .commands import demo as command  # noqa: PLC0415

    anyio.run(command.run, records, seed)


@app.command
def sandbox(
    *,
    port: Port = 0,
    records: Count = 20_000,
    sip_records: Count = 2_000,
    seed: int = 1,
    api_key: str | None = None,
    account: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> None:
    """Run a stand-in for the API on this machine, and print its account as environment variables.

    Parameters
    ----------
    port
        The port to listen on; 0 for any free port.
    records
        The number of voice-message records of each account.
    sip_records
        The number of phone records of each account.
    seed
        The seed of the random records.
    api_key
        The key of the account; sandbox-key by default.
    account
        The name of an account; may be given several times. The accounts are printed as a file for --accounts.

    """
    from .commands import sandbox as command  # noqa: PLC0415

    command.run(port=port, records=records, sip_records=sip_records, seed=seed, api_key=api_key, account=account or ())


app.meta.suppress_keyboard_interrupt = False
app.register_install_completion_command(group="Commands")


@app.meta.default
def _launch(*words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], debug: bool = False) -> None:
    """Run a command.

    Parameters
    ----------
    words
        The command and its options.
    debug
        Show the traceback of an error.

    """
    try:
        app(words, **_RAISE)
    except _ERRORS as error:
        if debug and not isinstance(error, BrokenPipeError):
            traceback.print_exception(error)
        raise


@contextmanager
def _quiet_libraries() -> Generator[None]:
    """Print warnings and retries only as the command line does: disable the handlers of Python and stamina."""
    loggers = [logging.getLogger(name) for name in ("itnio_voice", "stamina")]
    for logger in loggers:
        logger.addHandler(_NO_OUTPUT)
    hooks = get_on_retry_hooks()
    set_on_retry_hooks([])
    try:
        yield
    finally:
        set_on_retry_hooks(hooks)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return its exit code."""
    prepare_streams()
    try:
        with _quiet_libraries(), interruptible():
            app.meta(arguments, **_RAISE)
        flush_output()
    except CycloptsError as error:
        print_error(str(error))
        return WRONG_USAGE
    except SystemExit as end:
        return int(end.code or 0)
    except BrokenPipeError:
        return READER_ENDED
    except _ERRORS as error:
        for each in error.errors if isinstance(error, AccountsError) else [error]:
            print_error(message_of(each))
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED
    finally:
        end_output()
    return 0
