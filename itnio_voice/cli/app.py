"""The commands and their exit codes: 0 done, 1 an error of the API or the network, 2 wrong usage, 130 interrupted."""

import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import anyio
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from ..errors import ItnioError
from ..sandbox import Sandbox
from . import demo as demonstration

__all__ = ["app", "run"]

INTERRUPTED = 130
_RAISE: dict[str, Any] = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}

Count = Annotated[int, Parameter(validator=Number(gte=0))]
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]

app = App(
    name="itnio-voice",
    help="Read voice call records out of the ITNIO TECH voice API.",
    suppress_keyboard_interrupt=False,
)


@app.command
def demo(*, records: Count = 30_000, seed: int = 1) -> None:
    """Walk two months of records of a sandbox: no credentials, no network.

    Parameters
    ----------
    records
        How many records the sandbox has.
    seed
        What the records are made from.

    """
    anyio.run(demonstration.run, records, seed)


@app.command
def sandbox(
    *,
    port: Port = 0,
    records: Count = 20_000,
    sip_records: Count = 2_000,
    seed: int = 1,
    api_key: str = "sandbox-key",
) -> None:
    """Run a stand-in for the API on this machine, and print what to put into the environment.

    Parameters
    ----------
    port
        Where it listens; 0 for any free port.
    records
        How many voice-message records it has.
    sip_records
        How many phone records it has.
    seed
        What the records are made from.
    api_key
        The account's key.

    """
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    with Sandbox(port=port, records=records, sip_records=sip_records, seed=seed, api_key=api_key) as running:
        sys.stdout.write(
            f"export ITNIO_BASE_URL={running.base_url}\n"
            f"export ITNIO_API_KEY={shlex.quote(running.api_key)}\n"
            f"export ITNIO_API_SECRET={running.api_secret}\n"
        )
        sys.stdout.flush()
        sys.stderr.write("Running until interrupted (Ctrl+C).\n")
        threading.Event().wait()


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
    except (ItnioError, OSError) as error:
        if debug:
            raise
        _say(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"itnio-voice: {message}", markup=False, highlight=False)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return its exit code."""
    try:
        app.meta(arguments, **_RAISE)
    except CycloptsError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return int(end.code or 0)
    return 0
