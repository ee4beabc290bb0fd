"""Text as errors and log records show it: printable characters only, of bounded length. Pure.

Texts from servers, files and the environment may hold what an attacker chose: escape sequences, C1 controls, newlines
that forge log lines, and bidirectional overrides. The errors and the loggers of the library use these functions.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Self, SupportsIndex

__all__ = ["LONGEST", "Message", "get_logger", "printable", "server_words"]

LONGEST = 1000
"""The number of characters that the text of an error or of a log record has at most."""
_CUT = "…"
# What an error shows of a server's own words: words of letters with few digits, short numbers, and punctuation. The
# rest, be it a phone number, an id or a signature, is left out.
_NOT_SHOWN = re.compile(r"[^\s\w<>{}\[\]():;,.!?'\"/=-]|\b(?!\d{1,5}\b)\w*\d\w*\d\w*\d\w*")


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Return text with escapes for characters that are not printable, cut to `longest` characters.

    Printable is what `str.isprintable` accepts. An escape is as Python writes it: `\n`, `\x1b`, `\u202e`.
    """
    if len(text) <= longest and text.isprintable():
        return text
    start = text[: longest + 1]
    if not start.isprintable():
        start = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in start)
    return start if len(start) <= longest else start[: longest - len(_CUT)] + _CUT


def server_words(text: str) -> str:
    """Return what an error shows of a server's own words."""
    return _NOT_SHOWN.sub(_CUT, text)


class _PrintableText(logging.Filter):
    """Makes the text of each log record printable, and the texts that it carries under names such as `itnio.stream`."""

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
    """Return the logger of a name; the text of its records is printable."""
    logger = logging.getLogger(name)
    logger.addFilter(_PRINTABLE_TEXT)
    return logger


class Message(str):
    """The text of an error: `template` is a sentence of the library's own, and `quotes` are texts that it quotes.

    They are kept apart so that what must not be shown can be redacted in the quotes, and only there. A copy or a pickle
    of a message is plain text.
    """

    __slots__ = ("quotes", "template")

    template: str
    quotes: Mapping[str, object]

    def __new__(cls, template: str, **quotes: object) -> Self:
        """Put the quotes into the template."""
        self = super().__new__(cls, template.format(**quotes))
        self.template = template
        self.quotes = quotes
        return self

    def with_quotes(self, change: Callable[[str], str]) -> str:
        """Return the text with each quote changed."""
        return self.template.format(**{name: change(str(quote)) for name, quote in self.quotes.items()})

    def __reduce_ex__(self, _: SupportsIndex) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)
