"""SIGTERM ends a command as SIGINT does, so that part files are removed."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["READER_ENDED", "interruptible"]

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
READER_ENDED = 141
"""128 + SIGPIPE, which Windows does not have."""


@contextmanager
def interruptible() -> Generator[None]:
    """Exit with 130 if SIGINT interrupts the block and with 143 if SIGTERM does; outside the main thread, do nothing.

    A shell's background job starts with SIGINT ignored. It is handled here, so that both signals end a command.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    code = INTERRUPTED

    def terminate(_number: int, frame: FrameType | None) -> None:
        nonlocal code
        code = TERMINATED
        interrupt = signal.getsignal(signal.SIGINT)  # inside asyncio.run, that of asyncio, which cancels the main task
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, terminate)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
