"""The text of an error, in the words of the command line."""

import errno
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from .._model.errors import ItnioError

__all__ = ["AccountsError", "UsageError", "collected", "in_cli_words", "message_of"]

WORDS = {
    'pass expired="skip"': "pass --expired skip",
    "pass since and until": "pass --since and --until",
    "lower rate or concurrency": "lower --rate or --concurrency",
    "concurrency must be": "--concurrency must be",
    "rate must be": "--rate must be",
    "start must not be in the future": "--start must not be in the future",
    "use a longer lookback": "use a longer --lookback",
    "lookback must not be": "--lookback must not be",
    "choose a wider type with money=, such as pa.decimal128(38, 18)": "choose a wider type with --money 38,18",
    "money is an option": "--money is an option",
    "money cannot be": "--money cannot be",
    "Leave money out": "Leave --money out",
    "check base_url": "check the base URL (ITNIO_BASE_URL, or base_url in the file of accounts)",
    "base_url is": "the base URL (ITNIO_BASE_URL, or base_url in the file of accounts) is",
}
"""How the library's errors name options of Python, and how the command line names them."""

ADVICE = {
    errno.EBADF: ": it is closed, redirect it to a file for example",
    errno.EMFILE: ": raise the limit of open files, for example with ulimit -n 256",
    errno.ENOSPC: ": free some space, and run the command again",
}
"""What to do about an error of the operating system."""


class UsageError(ValueError):
    """A wrong argument on the command line."""


class AccountsError(Exception):
    """Some accounts could not be read: `errors`, each of which names its account in a note."""

    def __init__(self, errors: Iterable[Exception]) -> None:
        self.errors: list[Exception] = list(errors)
        super().__init__(f"{len(self.errors)} accounts failed")


@contextmanager
def collected() -> Generator[None]:
    """Raise the failures that `merge` has collected as an `AccountsError`."""
    try:
        yield
    except ExceptionGroup as group:
        raise AccountsError(group.exceptions) from group


def in_cli_words(text: str) -> str:
    """Return the text of an error with the options as the command line names them."""
    for python, command_line in WORDS.items():
        text = text.replace(python, command_line)
    return text


def message_of(error: BaseException) -> str:
    """Return an error as one line: its kind if it is the API's, its text, and what was being read."""
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        text = f"{error.strerror}{place}{ADVICE.get(error.errno or 0, '')}"
    else:
        kind = f"{type(error).__name__}: " if isinstance(error, ItnioError) else ""
        text = kind + in_cli_words(str(error))
    return "; ".join([text, *getattr(error, "__notes__", ())])
