"""When a session may send its next request: at most `rate` per second, and slower after an HTTP 429."""

from math import inf

import anyio
import anyio.lowlevel
import attrs

from .._model.errors import HTTPStatusError
from .retry import Retry

__all__ = ["Pace"]

_STEP = 0.05
"""Each answer adds this share of the first limited rate to the requests per second."""
_UNLIMITED = 0.01
"""A gap that is shorter than this share of the first gap is removed."""
_SHORTEST = 0.01
"""The shortest pause after a 429, in seconds: a server's `Retry-After: 0` must not cause a busy loop."""
_LONGEST = 86400.0
"""The longest pause after a 429, in seconds."""


@attrs.define(eq=False, repr=False)
class Pace:
    """The pace of a session's requests, with additive increase and multiplicative decrease after HTTP 429.

    After a 429, no request is sent for the duration of its `Retry-After`. Without the header, the session waits for
    `Retry.backoff`, which grows with each 429 in a row. Then requests are sent one at a time, until one of them is
    answered. From then on there is a gap between requests. The first 429 sets it to `wait_initial` seconds, and each
    later series of 429s doubles it, up to `wait_max`. Each answer adds `_STEP / wait_initial` to the requests per
    second.

    All 429s for requests that were in flight together count once. An answer to a request that was sent before the last
    429 does not change the pace.
    """

    rate: float | None
    retry: Retry
    refusals: int = attrs.field(default=0, init=False)
    """The number of 429s since the last answer."""
    refused_since: float = attrs.field(default=inf, init=False)
    """The time at which the first of them was received."""
    _gap: float = attrs.field(default=0.0, init=False)
    _next: float = attrs.field(default=-inf, init=False)
    _pause_end: float = attrs.field(default=-inf, init=False)
    _series: int = attrs.field(default=0, init=False)
    _probe: tuple[int, anyio.Event] | None = attrs.field(default=None, init=False)

    async def turn(self, began: float, left: float) -> int:
        """Wait until a request may be sent, and return the turn's number; only one caller may wait at a time.

        A turn is taken immediately before sending, so a cancelled call does not use one up. The call began at `began`,
        and has `left` seconds for its remaining attempts and waits.

        Raises:
            HTTPStatusError: if the server's `Retry-After` ends later than the call may last, or if at the end of the
                pause the server will have answered only with 429 for `total` seconds since `began`.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._is_unlimited:
            return self._series
        while True:
            now = anyio.current_time()
            pause = self._pause_end - now
            refused_for = self.refused_for(began) + max(pause, 0.0)
            if pause > max(left, self.retry.wait_max) or refused_for > self.retry.total:
                message = (
                    f"HTTP 429: too many requests, none is sent for {max(pause, 0.0):.3g} s: lower rate or concurrency"
                )
                raise HTTPStatusError(message, status_code=429, retry_after=max(pause, 0.0))
            wait = max(pause, self._next - now)
            if wait > 0:
                await anyio.sleep(wait)
            elif self._probe is not None:
                await self._probe[1].wait()
            else:
                break
        self._next = now + max(self._gap, 1 / self.rate if self.rate else 0.0)
        if self.refusals:
            self._probe = self._series, anyio.Event()
        return self._series

    @property
    def _is_unlimited(self) -> bool:
        """Whether there is no `rate` and no limit from a 429."""
        return self.rate is None and not self._gap and not self.refusals and self._pause_end == -inf

    def refused_for(self, began: float) -> float:
        """Return the number of seconds since `began` in which the server has answered only with 429."""
        return max(0.0, anyio.current_time() - max(began, self.refused_since))

    def end(self, turn: int) -> None:
        """Record that the request of a turn has ended, with or without an answer."""
        if self._probe is not None and self._probe[0] == turn:
            self._probe[1].set()
            self._probe = None

    def answered(self, turn: int) -> None:
        """Record that the request of a turn was answered, and increase the pace."""
        if turn == self._series:
            self.refusals, self.refused_since = 0, inf
            if self._gap:
                first = self.retry.wait_initial
                self._gap /= 1 + _STEP * self._gap / first
                self._gap *= self._gap >= _UNLIMITED * first

    def refused(self, turn: int, retry_after: float | None) -> float:
        """Record that the request of a turn was answered with a 429, and return the seconds until the next attempt."""
        now = anyio.current_time()
        if turn == self._series:
            self._series += 1
            self.refusals += 1
            if self.refusals == 1:
                self.refused_since = now
                self._gap = min(2 * self._gap or self.retry.wait_initial, self.retry.wait_max)
            if retry_after is None:
                self._pause_end = max(self._pause_end, now + max(self.retry.backoff(self.refusals), _SHORTEST))
        if retry_after is not None:
            self._pause_end = max(self._pause_end, now + max(_SHORTEST, min(retry_after, _LONGEST)))
        return max(self._pause_end - now, retry_after or 0.0)
