"""The server clock's offset, from the `Date` headers of its answers. Pure: this machine's time is an argument."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import attrs

from .retry import http_date

__all__ = ["FARTHEST", "ServerClock"]

FARTHEST = 2 * 86400.0
"""The largest offset that is accepted, in seconds: a `Date` farther from this machine's time is not used."""
_RESOLUTION = 1.0
"""A `Date` header has whole seconds, rounded down."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = 1.0
"""The offset changes only if a `Date` contradicts it by more than this many seconds, so it does not jitter."""


@attrs.define(repr=False)
class ServerClock:
    """The offset of the server's clock from this machine's, in seconds; it is positive if the server's is ahead.

    - `offset` is the offset that is reported. It changes only when a `Date` contradicts it.
    - `least` is the smallest offset that agrees with every `Date` since it was last contradicted. A time computed with
      it is never ahead of the server, so a second that is over by that time is also over on the server.
    - `signing` is the offset of timestamps. It changes only when the server refuses one, because a proxy that writes
      `Date` may have another clock than the server that checks signatures.
    - `known` is whether any usable `Date` was received.
    """

    offset: float = 0.0
    least: float = 0.0
    signing: float = 0.0
    known: bool = False

    def observe(self, headers: Mapping[str, str], sent: float, received: float) -> bool:
        """Update the offset from an answer's `Date`, and return whether it changed.

        `sent` and `received` are times of this machine. The server wrote the `Date` between the two.
        """
        date = _usable_date(headers, received)
        if date is None:
            return False
        earliest, latest = date - received, date + _RESOLUTION - sent
        self.least = max(self.least, earliest) if self.known and self.least <= latest else earliest
        self.known = True
        if earliest - _MARGIN <= self.offset <= latest + _MARGIN:
            return False
        self.offset = earliest
        return True

    def correct(self, headers: Mapping[str, str], signed_with: float, received: float) -> bool:
        """Correct the offsets after a refused timestamp, and return whether signing again would make a difference.

        `signed_with` is the offset of the refused timestamp. Without a usable `Date`, no offset changes.
        """
        date = _usable_date(headers, received)
        if date is not None:
            self.known = True
            self.offset = self.least = self.signing = date - received
        return abs(self.signing - signed_with) > _RESOLUTION

    @property
    def reported(self) -> float | None:
        """The offset for reports; None if no usable `Date` was received."""
        return self.offset if self.known else None

    @staticmethod
    def advice(headers: Mapping[str, str], received: float) -> str:
        """Return the advice for a refused timestamp that cannot be corrected, with the times of both clocks."""
        date = http_date(headers.get("date"))
        server = "the server does not say its time" if date is None else f"the server says {_shown(date)}"
        return f"{server}, this machine says {_shown(received)}: set this machine's clock"


def _usable_date(headers: Mapping[str, str], received: float) -> float | None:
    """Return an answer's `Date` in Unix seconds; None if it is missing, from a cache, or too far off."""
    date = http_date(headers.get("date"))
    cached = headers.get("age", "0").strip() != "0"
    return None if date is None or cached or abs(date - received) > FARTHEST else date


def _shown(moment: float) -> str:
    return (_EPOCH + timedelta(seconds=int(moment))).isoformat()
