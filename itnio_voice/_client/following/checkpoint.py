"""Checkpoints of followers, as JSON."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from ..._model.windows import Window
from .known import DIGEST
from .lookback import Lookback, Stretch

__all__ = ["FollowCheckpoint", "same_follower"]


@attrs.frozen
class FollowCheckpoint:
    """How far a follower has read, and the records of its lookback: whoever resumes from it gets each record once.

    `str(checkpoint)` is JSON to store, and `FollowCheckpoint.parse(text)` reads it. It has 24 characters for each
    record of the lookback, and at most 200 for each of its stretches, of which a poll adds eight at most. `query` is a
    fingerprint of the account (hashed), record class and filters.
    """

    query: str
    lookback: Lookback = attrs.field(factory=Lookback, repr=False)

    @property
    def position(self) -> datetime | None:
        """The time up to which everything was read; the start, or None, before the first request."""
        return self.lookback.position

    def __str__(self) -> str:
        stretches = [list(_fields(each)) for each in self.lookback.stretches]
        position = self.position and self.position.isoformat()
        return json.dumps({"version": 1, "query": self.query, "position": position, "stretches": stretches})

    @classmethod
    def parse(cls, text: str) -> "FollowCheckpoint":
        """Read the text of a checkpoint, as `str(checkpoint)` returned it.

        Raises:
            ValueError: if the text is not a follower's checkpoint.
        """
        try:
            match json.loads(text):
                case {"version": 1, "query": str(query), "position": position, "stretches": list(stretches)}:
                    at = None if position is None else _moment(position)
                    return cls(query, Lookback(at, tuple(map(_stretch, stretches))))
                case _:
                    problem = "version 1 of a follower's checkpoint is expected"
        except (ValueError, TypeError, RecursionError) as error:
            problem = str(error)
        message = f"not a checkpoint of a follower ({problem}): {text!r:.80}"
        raise ValueError(message)


def same_follower(resume: FollowCheckpoint, checkpoint: FollowCheckpoint) -> FollowCheckpoint:
    """Return the checkpoint to resume from.

    Raises:
        ValueError: if it is no checkpoint of a follower, or one of another query than `checkpoint`.
    """
    if not isinstance(resume, FollowCheckpoint):
        message = (
            f"resume must be a FollowCheckpoint (FollowCheckpoint.parse returns one from text), not {resume!r:.80}"
        )
        raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    if resume.query != checkpoint.query:
        message = "resume is the checkpoint of another query: account, kind and filters must be the same"
        raise ValueError(message)
    return checkpoint if resume.position is None else resume


def _fields(stretch: Stretch) -> Iterator[Any]:
    """Yield the values of a stretch that a checkpoint stores; `_stretch` is the inverse."""
    yield stretch.window.start.isoformat()
    yield stretch.window.end.isoformat()
    yield stretch.surplus
    yield stretch.looked_at.isoformat()
    yield stretch.is_quiet
    for digests in (stretch.digests, stretch.others):
        yield b64encode(b"".join(sorted(digests))).decode()


def _stretch(fields: Any) -> Stretch:
    start, end, surplus, looked_at, is_quiet, digests, others = fields
    if type(surplus) is not int or type(is_quiet) is not bool:
        message = "a stretch is damaged"
        raise ValueError(message)
    window = Window(_moment(start), _moment(end))
    return Stretch(window, _digests(digests), surplus, _moment(looked_at), is_quiet, _digests(others))


def _digests(text: str) -> frozenset[bytes]:
    data = b64decode(text, validate=True)
    if len(data) % DIGEST:
        message = "the records of a stretch are damaged"
        raise ValueError(message)
    return frozenset(data[first : first + DIGEST] for first in range(0, len(data), DIGEST))


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.utcoffset() is None:
        message = f"{text!r} has no offset"
        raise ValueError(message)
    return at
