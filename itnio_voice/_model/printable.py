"""Text for errors and log records: printable characters only, of bounded length. Pure.

An attacker may control text from servers, files and the environment, and put in escape sequences, C1 controls,
newlines that forge log lines, and bidirectional overrides. All errors and loggers of the library use these functions.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Self, SupportsIndex

__all__ = ["LONGEST", "Message", "get_logger", "printable", "server_words"]

LONGEST = 1000
"""The maximum number of characters in the text of an error or of a log record."""
_CUT = "…"
# An error shows these parts of a server's text: words with at most two digits, numbers of up to five digits, and
# punctuation. The rest, such as phone numbers, ids and signatures, is left out.
_NOT_SHOWN = re.compile(r"[^\s\w<>{}\[\]():;,.!?'\"/=-]|\b(?!\d{1,5}\b)\w*\d\w*\d\w*\d\w*")


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Return text with escapes for characters that are not printable, cut to `longest` characters.

    `str.isprintable` decides what is printable. Escapes are written as in Python: `\n`, `\x1b`, `\u202e`.
    """
    if len(text) <= longest and text.isprintable():
        return text
    start = text[: longest + 1]
    if not start.isprintable():
        start = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in start)
    return start if len(start) <= longest else start[: longest - len(_CUT)] + _CUT


def server_words(text: str) -> str:
    """Return the parts of a server's text that an error may show."""
    return _NOT_SHOWN.sub(_CUT, text)


class _PrintableText(logging.Filter):
    """Makes the message of each log record printable, and its extra fields with names such as `itnio.stream`."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = printable(message)
        if shown != message:
            record.msg, record.args = shown, ()
        for name, value in vars(record).items():
            if isinstance(value, str) and name.startswith("itnio."):
                setattr(record, name, printable(value))
        return True


_PRINTABLE_TEXT = _PrintableText()


def get_logger(name: str) -> logging.Logger:
    """Return the logger with a name; the text of its records is made printable."""
    logger = logging.getLogger(name)
    logger.addFilter(_PRINTABLE_TEXT)
    return logger


class Message(str):
    """The text of an error: `template` is the library's own sentence, and `quotes` are the foreign texts in it.

    They are kept apart so that secrets can be redacted in the quotes only. A copy or a pickle of a message is plain
    text.
    """

    __slots__ = ("quotes", "template")

    template: str
    quotes: Mapping[str, object]

    def __new__(cls, template: str, **quotes: object) -> Self:
        """Create the text from the template and its quotes."""
        self = super().__new__(cls, template.format(**quotes))
        self.template = template
        self.quotes = quotes
        return self

    def with_quotes(self, change: Callable[[str], str]) -> str:
        """Return the text with each quote changed."""
        return self.template.format(**{name: change(str(quote)) for name, quote in self.quotes.items()})

    def __reduce_ex__(self, _: SupportsIndex) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)
