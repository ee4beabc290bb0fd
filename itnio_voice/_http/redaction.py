"""Redaction of secrets, signatures and passwords in errors, and removal of the frames that hold them. Pure.

Secrets are searched for without `re`, because its cache would keep them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote

from .._model.errors import ItnioError
from .._model.printable import Message

__all__ = ["redact_error", "redact_secrets", "redact_users", "without_frames"]

E = TypeVar("E", bound=BaseException)

_REDACTED = "***"
_PART = 6
"""This many consecutive characters of a secret are redacted too: a text that was cut may end within a secret."""
_LONGEST = 10_000
"""The maximum length of a text after redaction."""
_WORD = re.compile(r"[^\s\"'<>]+")


def redact_users(text: str) -> str:
    """Return text without the user names and passwords of the URLs in it."""
    return _WORD.sub(_redact_user, text)


def _redact_user(word: re.Match[str]) -> str:
    scheme, mark, rest = word[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{_REDACTED}{at}{host}" if at else word[0]


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return text with `***` for each secret in it, and for each part of a secret of at least `_PART` characters.

    Secrets are found in upper and lower case, and as Python, JSON and URLs write them.
    """
    return _redacted(text, _parts(secrets))


def redact_error(error: ItnioError, secrets: Iterable[str]) -> None:
    """Redact the message and the attributes of an error, in place."""
    parts = _parts(secrets)

    def redact(text: str) -> str:
        return redact_users(_redacted(text, parts))

    error.args = tuple(_changed(argument, redact) for argument in error.args)
    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, _redacted(value, parts))
        elif name == "value" and (shown := _redacted(text := repr(value), parts)) != text:
            setattr(error, name, shown)


def _changed(argument: object, change: Callable[[str], str]) -> str:
    """Return an argument of an error with its foreign text changed: the quotes of a `Message`, else all of it."""
    return argument.with_quotes(change) if isinstance(argument, Message) else change(str(argument))


def without_frames(error: E, secrets: Iterable[str], until: BaseException | None) -> E:
    """Remove the frames of an error and of its causes, up to `until`, and the secrets in their texts.

    The frames of an HTTP library hold the request, and so the signature. A note says where the error was raised.
    """
    parts = _parts(secrets)
    for each in _chain(error, until):
        frames = each.__traceback__
        while frames and frames.tb_next:
            frames = frames.tb_next
        if frames and isinstance(each, Exception):
            code = frames.tb_frame.f_code
            each.add_note(f"raised at {code.co_filename}:{frames.tb_lineno}, in {code.co_name}")
        each.__traceback__ = None
        if not isinstance(each, Exception):
            continue  # anyio finds out from the text of a cancellation whether it is its own
        args = tuple(_redacted(value, parts) if isinstance(value, str) else value for value in each.args)
        if args != each.args:
            each.args = args
    return error


def _chain(error: BaseException, until: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error, its causes, its contexts and the members of groups, each once."""
    seen: set[int] = {id(until), id(None)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        waiting += [each.__cause__, each.__context__, *members]


def _parts(secrets: Iterable[str]) -> set[str]:
    """Return the parts of secrets that must not be shown, in lower case; a secret shorter than a part is one part."""
    parts: set[str] = set()
    for secret in secrets:
        for spelling in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}:
            folded = _folded(spelling)
            length = min(len(folded), _PART)
            parts.update(folded[at : at + length] for at in range(len(folded) - length + 1))
    return parts


def _redacted(text: str, parts: set[str]) -> str:
    folded = _folded(text)
    if not any(part in folded for part in parts):
        return text
    text, folded = text[:_LONGEST], folded[:_LONGEST]
    shown, end, hidden_until = "", 0, -1
    for start, stop in sorted((at, at + len(part)) for part in parts for at in _places(folded, part)):
        if start > hidden_until:
            shown += text[end:start] + _REDACTED
        end = hidden_until = max(hidden_until, stop)
    return shown + text[end:]


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _folded(text: str) -> str:
    """Return text in lower case, character by character: the length stays the same, and word ends do not matter."""
    return text.replace("İ", "i").lower().replace("ς", "σ")
