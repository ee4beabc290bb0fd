"""How much of an account a warehouse has read: where the next run starts, and what a run adds. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

import attrs

from ..._model.windows import Window, floor

__all__ = ["Coverage"]


@attrs.frozen
class Coverage:
    """The range that has been read of an account, without a hole: from `since` to `until`.

    `key` is a digest of the account's API key. It distinguishes accounts of the same name.
    """

    since: datetime
    until: datetime
    key: str

    @classmethod
    def from_state(cls, state: Mapping[str, str] | None, key: str) -> Self | None:
        """Return the coverage that `state` holds; None if there is none, or if it is of another account."""
        if state is None or state["key"] != key:
            return None
        since, until = (floor(datetime.fromisoformat(state[name])) for name in ("since", "until"))
        return cls(since, until, key)

    def to_state(self) -> dict[str, str]:
        """Return the coverage as text, as the destination stores it."""
        return {"since": self.since.isoformat(), "until": self.until.isoformat(), "key": self.key}

    def next_start(self, since: datetime, until: datetime | None, lookback: timedelta) -> datetime:
        """Return where a run from `since` to `until` starts: `lookback` before the end of what has been read.

        It starts at `since` if that is earlier than what has been read, or later than the start by the lookback.
        """
        last = min(self.until, until or self.until)
        # Compared as durations: a long lookback may lead to before the year 1.
        return last - lookback if self.since <= since and lookback < last - since else since

    @classmethod
    def extended(cls, before: Self | None, since: datetime, key: str, windows: Sequence[Window]) -> Self:
        """Return the coverage after a run from `since` that completed `windows`, given the coverage before it.

        The windows may end before the run's `until`, because the server's clock decides what can be read. If there is a
        hole between both ranges, only the run's counts.
        """
        until = windows[-1].end if windows else since
        # A run that continues starts before the end of what had been read.
        if before and (before.since <= since <= before.until or since <= before.since <= until):
            since, until = min(since, before.since), max(until, before.until)
        return cls(since, until, key)
