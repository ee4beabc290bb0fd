"""Checkpoints: the completed windows of a stream, as JSON."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import attrs

from .._model.windows import Window, join

__all__ = ["Checkpoint", "fingerprint", "same_query"]


def fingerprint(*arguments: object) -> str:
    """Return a digest that distinguishes queries; equal instants have equal digests, whatever their offsets."""
    text = json.dumps(arguments, default=_canonical, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:32]


def _canonical(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else repr(value)


@attrs.frozen
class Checkpoint:
    """The completed windows of one query, merged, oldest first.

    `str(checkpoint)` is JSON to store, and `Checkpoint.parse(text)` reads it. `query` is a fingerprint of the query:
    account (hashed), record class, filters, and start and end as the caller passed them.
    """

    query: str
    done: tuple[Window, ...] = attrs.field(default=(), converter=join)

    def including(self, windows: Iterable[Window]) -> "Checkpoint":
        """Return a checkpoint in which these windows are also completed."""
        return Checkpoint(self.query, (*self.done, *windows))

    def __str__(self) -> str:
        done = [[window.start.isoformat(), window.end.isoformat()] for window in self.done]
        return json.dumps({"version": 1, "query": self.query, "done": done})

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the text of a checkpoint, as `str(checkpoint)` returned it.

        Raises:
            ValueError: if the text is not a checkpoint.
        """
        try:
            match json.loads(text):
                case {"version": 1, "query": str(query), "done": list(done)}:
                    return cls(query, tuple(_window(pair) for pair in done))
                case _:
                    problem = "version 1 is expected"
        except (ValueError, TypeError, RecursionError) as error:
            problem = str(error)
        message = f"not a checkpoint ({problem}): {text!r:.80}"
        raise ValueError(message)


def _window(pair: Any) -> Window:
    start, end = map(datetime.fromisoformat, pair)
    return Window(start, end)


def same_query(resume: Checkpoint, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint to resume from.

    Raises:
        ValueError: if it is no checkpoint, or one of another query than `checkpoint`.
    """
    if not isinstance(resume, Checkpoint):
        message = f"resume must be a Checkpoint (Checkpoint.parse returns one from text), not {resume!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    if resume.query != checkpoint.query:
        what = "account, kind, filters, start, end and newest_first"
        message = f"resume is the checkpoint of another query: {what} must be the same"
        raise ValueError(message)
    return resume
