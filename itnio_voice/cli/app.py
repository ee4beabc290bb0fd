"""The commands and their exit codes: 0 done, 1 an error of the API or the network, 2 wrong usage, 130 interrupted."""

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import anyio
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from ..errors import ItnioError
from ..sandbox import Sandbox
from . import demo as demonstration

__all__ = ["app", "run"]

INTERRUPTED = 130

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
def sandbox(*, port: Port = 0, records: Count = 20_000, sip_records: Count = 2_000, seed: int = 1) -> None:
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

    """
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with Sandbox(port=port, records=records, sip_records=sip_records, seed=seed) as running:
        sys.stdout.write(
            f"export ITNIO_BASE_URL={running.base_url}\n"
            f"export ITNIO_API_KEY={running.api_key}\n"
            f"export ITNIO_API_SECRET={running.api_secret}\n"
        )
        sys.stdout.flush()
        sys.stderr.write("Running until interrupted (Ctrl+C).\n")
        stop.wait()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return its exit code."""
    errors = Console(stderr=True, soft_wrap=True)
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value", error_console=errors)
    except CycloptsError as error:
        errors.print(f"itnio-voice: {error}", markup=False)
        return 2
    except ItnioError as error:
        errors.print(f"itnio-voice: {type(error).__name__}: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
