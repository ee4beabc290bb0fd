"""Text as errors and log records show it: printable characters only, of bounded length. Pure.

Texts from servers, files and the environment may hold what an attacker chose: escape sequences, C1 controls, newlines
that forge log lines, and bidirectional overrides. The errors and the loggers of the library use these functions.
"""

import logging

__all__ = ["LONGEST", "get_logger", "printable"]

LONGEST = 1000
"""The number of characters that the text of an error or of a log record has at most."""
_CUT = "…"


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
