"""The checks of a scenario's result, for any server. They share no reasoning with the library."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from itnio_voice import (
    IncompleteWindowError,
    ItnioError,
    ProtocolError,
    ServerError,
    TimeRangeError,
    TimestampExpiredError,
    TransportError,
    Window,
)

from .counts import judge_counts
from .plan import DAY, PAST, SECOND, Plan
from .reader import Call, Reader
from .server import START, Server

__all__ = ["Judge"]

OUTAGE = 300
"""The number of requests that an outage may cost: each failure narrows a window, which has to widen again."""
ENDLESS = 2_000
"""The number of an endless server's pages that may be requested."""
PASSES = 80
"""The number of times that a window may be read: 24 passes over the shortest, repeated after a contradiction, and the
search for it. The largest observed number is 72."""


@attrs.define
class Judge:
    """Decides which errors and how many requests a server justifies, and which records a reader must have."""

    plan: Plan
    server: Server
    _gone: set[str] = attrs.field(factory=set, init=False)
    """The records that have expired, when everything has been read."""

    def check(self, error: ItnioError) -> None:
        """Check that the server gave a reason for an error."""
        behaviour = self.server.sandbox.behaviour
        faults = bool(behaviour.faults or behaviour.rate_limit)
        reason = {
            TimeRangeError: self.plan.expired == "raise" and behaviour.retention and behaviour.refuses_beyond_retention,
            IncompleteWindowError: self._contradicts_itself(),
            ServerError: faults or behaviour.window_fails_over is not None,
            ProtocolError: faults
            or behaviour.always_first_page
            or (self._is_vague() and behaviour.past_last == "first"),
            TimestampExpiredError: behaviour.clock_skew or self.server.changes or faults,
            TransportError: faults,
        }
        message = f"no reason for {error!r}"
        assert any(allowed for kind, allowed in reason.items() if isinstance(error, kind)), message

    def _is_vague(self) -> bool:
        behaviour = self.server.sandbox.behaviour
        return "total" in behaviour.omits or behaviour.order == "unstable" or bool(behaviour.duplicates)

    def _contradicts_itself(self) -> bool:
        """Whether answers may differ or not add up, so that no window can be verified."""
        plan, behaviour = self.plan, self.server.sandbox.behaviour
        if plan.per_request or plan.per_second:
            # The last seconds settle, but a second with many records may expire while it is read.
            return bool(plan.lookback and plan.expiring)
        still = not (plan.appearing or plan.expiring or plan.swapping)
        quiet = still and plan.ago == PAST and behaviour.retention is None
        too_low = behaviour.total_of_page or behaviour.total_one_short or behaviour.total_cap is not None
        crowded = any(count > behaviour.deepest_row for _, count in plan.crowds) if behaviour.deepest_row else False
        odd = behaviour.order == "heap" or behaviour.replicas > 1 or behaviour.endless != "never"
        shared = plan.shared_id == "everywhere" or (plan.shared_id and behaviour.max_size < len(self.server.seconds))
        return bool(
            not quiet
            or self._is_vague()
            or behaviour.always_first_page
            or too_low
            or crowded
            or odd
            or shared
            or plan.machine_skew
        )

    # Requests

    def allowed(self, reader: Reader) -> float:
        """Return a limit on the requests so far: generous, but linear in everything.

        Each stream has its windows, their pages in several passes, and a search for what window fits, in which the
        requests in flight may be discarded at each step.
        """
        plan, behaviour = self.plan, self.server.sandbox.behaviour
        if plan.lookback:
            polls = (self.server.second() + plan.warm_up) / plan.every + 10 * reader.streams + reader.retries
            pages = 40 + 4 * plan.lookback * plan.per_second / behaviour.max_size + len(self.server.seconds) / polls
            return reader.attempts * (polls * pages + 10 * reader.stops)
        rows = len(self.server.seconds) * (2 if behaviour.duplicates else 1)
        pages = rows / min(reader.page_size, behaviour.max_size)
        spans = (behaviour.max_span, behaviour.window_times_out_over, behaviour.window_unavailable_over)
        longest = min(span for span in spans if span is not None) / SECOND
        length = max(self.server.second(), plan.length) if plan.open_end or plan.rounds else plan.length
        windows = length / longest + rows / (plan.deep / 4) + length / (31 * DAY) + len(reader.calls)
        steps = math.log2(length + 2) + 4
        slow = behaviour.window_times_out_over or behaviour.window_unavailable_over
        again = reader.attempts if plan.behaviour.faults or behaviour.rate_limit or slow else 1
        thrown_away = steps * (4 + reader.concurrency) + (OUTAGE if plan.outage else 0)
        if plan.patience is not None:
            again *= 3  # requests in flight are repeated
        if not plan.tight:
            again = max(again, 2)
            # Each change, and each inconsistent server, may cost a search, or windows of two seconds.
            windows += min(length, 5000 * len(reader.calls))
            thrown_away *= 2 * (1 + self.server.changes)
        thrown_away += ENDLESS * (behaviour.endless != "never")
        stream = again * (PASSES * (pages + 2 * windows) + thrown_away)
        return stream * (reader.streams + reader.retries) + again * reader.stops * (4 + reader.concurrency)

    # Records

    def judge(self, reader: Reader, there: set[str], *, complete: bool) -> None:
        """Check the guarantees; `there` are the records that were available from the first request to the last."""
        server, calls, plan = self.server, reader.calls, self.plan
        if plan.lookback:
            self._judge_follower(reader, complete=complete)
            return
        if plan.counts:
            judge_counts(plan, server, reader.counts)
            assert plan.real or server.requests <= self.allowed(reader), f"{server.requests} requests"
            assert server.sandbox.in_flight == 0
            return
        found = sum((call.found for call in calls), Counter[str]())
        kept = self._kept()
        self._gone = server.seconds.keys() - server.visible()
        must = {mark for mark in there if complete and server.seconds[mark] >= kept and self._is_promised(mark, calls)}
        lost = must - found.keys()
        assert not lost, f"lost: {_some(lost, server)} of {len(must)}"
        doubled = self._doubled(calls, found, kept)
        assert not doubled, f"doubled: {_some(doubled, server)}"
        strange = {mark for mark in found if not self._may_come(mark, calls)}
        assert not strange, f"not of the range: {_some(strange, server)}"
        for call in calls:
            self._judge_skipped(call)
            self._judge_checkpoint(call)
        self._judge_timeouts(reader)
        assert plan.real or server.requests <= self.allowed(reader), f"{server.requests} requests"
        assert server.sandbox.in_flight == 0

    def _judge_follower(self, reader: Reader, *, complete: bool) -> None:
        """Check that each record was returned once that appeared within the lookback."""
        server, found = self.server, reader.calls[0].found
        assert reader.followed_until is not None
        # A call that has ended has other content, but the same id.
        doubled = {mark for mark, count in found.items() if count > 1} & self._identified()
        assert not doubled, f"doubled: {_some(doubled, server)}"
        must = server.appeared_in_time(reader.followed_until) if complete else set[str]()
        lost = must - found.keys()
        if server.sandbox.behaviour.faults:
            # Where each reading of a crowded second meets a fault, the follower does not get past it, and says so.
            lost = {mark for mark in lost if server.seconds[mark] < reader.followed_to}
        assert not lost, f"lost: {_some(lost, server)} of {len(must)}"
        assert server.sandbox.in_flight == 0

    def _identified(self) -> set[str]:
        """Return the records with an id."""
        sql = "SELECT json_extract(wire, '$.mark') FROM records WHERE json_extract(wire, '$.voiceId') <> ''"
        return {mark for (mark,) in self.server.sandbox._opened()._all(sql, {})}

    def _kept(self) -> float:
        """Return the first second whose records the server must all have returned.

        At the limit of retention the second before a range cannot be requested, and what lies on its start may come
        with the range before, too, or with neither.
        """
        retention = self.server.sandbox.behaviour.retention
        edge = -math.inf if retention is None else self.server.second() - retention.total_seconds()
        return max(0, math.floor(max(edge, -1) + 1)) + 1

    def _is_promised(self, mark: str, calls: list[Call]) -> bool:
        """Whether a record lies in a completely read range, and in no skipped one."""
        second = self.server.seconds[mark]
        if any(start <= second <= end for call in calls for start, end in _spans(call.skipped)):
            return False
        if self.plan.rounds:
            return second < max((end for call in calls for _, end in _done(call)), default=0)
        past = second < min(self.server.latest, math.floor(max(call.end or self.plan.length for call in calls)))
        return past or any(start < second < end for call in calls for start, end in _done(call))

    def _doubled(self, calls: list[Call], found: Counter[str], kept: float) -> set[str]:
        """Return the records that were returned more often than allowed."""
        seconds, came = self.server.seconds, self.server.came
        free = set().union(*(call.twice for call in calls))
        # A record that appears on the last second of a skipped range may belong to it, and a resumed walk can read it.
        ends = {end for call in calls for _, end in _spans(call.skipped)}
        free |= {mark for mark in came if seconds[mark] in ends}
        if self.server.sandbox.behaviour.replicas > 1:
            # In the boundary second, a late replica may lack a record that another replica had in the range before.
            within = {mark for call in calls for mark, count in call.found.items() if count > 1}
            free |= came - within
        # A boundary second is requested together with the range after it: a record of it may expire between the two.
        starts = {math.floor(call.start) for call in calls}
        starts |= {int((at - START) / SECOND) for call in calls for at in call.resumed}
        free |= {mark for mark in self._gone if any(start - 1 <= seconds[mark] <= start for start in starts)}
        return {mark for mark, count in found.items() if count > 1 and seconds[mark] >= kept} - free

    def _may_come(self, mark: str, calls: list[Call]) -> bool:
        """Whether a record lies in the read ranges; one that appears or expires may be of the boundary second."""
        second = self.server.seconds[mark]
        first = math.floor(min(call.start for call in calls)) - (mark in self.server.came | self._gone)
        ends = [math.inf if call.end is None else math.floor(call.end) for call in calls]
        return first <= second <= max(ends)

    def _judge_skipped(self, call: Call) -> None:
        """Check that only expired ranges are skipped."""
        behaviour = self.server.sandbox.behaviour
        for window in call.skipped:
            assert behaviour.retention is not None, f"skipped {window}, but the server has everything"
            edge = self.server.second() - behaviour.retention.total_seconds()
            # One minute for the precision, and another one for a moving limit.
            assert self.plan.expired == "skip"
            assert behaviour.refuses_beyond_retention
            assert (window.end - START) / SECOND <= edge + 123, f"skipped {window}, but the limit is {edge}"

    def _judge_timeouts(self, reader: Reader) -> None:
        """Check that a window length that times out is remembered like one that is refused."""
        behaviour = self.server.sandbox.behaviour
        longest = behaviour.window_times_out_over or behaviour.window_unavailable_over
        if longest is not None:
            failed = {"hang", "503", "504"}
            number = sum(request.answered in failed for request in self.server.sandbox.requests)
            # At most 31 days are requested first; halving finds a length that fits, and some may be tried again.
            steps = max(math.log2(min(self.plan.length * SECOND, 31 * DAY * SECOND) / longest), 0)
            most = reader.attempts * (steps + 4 + reader.concurrency + 2 * reader.streams)
            assert number <= most, f"{number} requests for windows that get no answer, more than {most:.0f}"

    def _judge_checkpoint(self, call: Call) -> None:
        """Check that a checkpoint covers only past time that was read."""
        read = sorted(
            ((request.start - START) / SECOND, (request.end - START) / SECOND)
            for request in self.server.sandbox.requests
            if request.answered in {"0", "drip"} and request.start is not None and request.end is not None
        )
        union: list[list[float]] = []
        for start, end in read:
            if union and start <= union[-1][1]:
                union[-1][1] = max(union[-1][1], end)
            else:
                union.append([start, end])
        for start, end in _done(call):
            covered = any(low <= start and end <= high for low, high in union) or call.skipped
            assert covered, f"the checkpoint covers {start:.0f} to {end:.0f} s, which was not read: {union}"
            if call.end is None:
                assert end <= self.server.newest + 1, f"the checkpoint covers time up to {end:.0f} s, in the future"


def _done(call: Call) -> Iterator[tuple[float, float]]:
    return _spans(call.checkpoint.done if call.checkpoint else ())


def _spans(windows: Iterable[Window]) -> Iterator[tuple[float, float]]:
    """Return windows in seconds from START."""
    return (((window.start - START) / SECOND, (window.end - START) / SECOND) for window in windows)


def _some(marks: set[str], server: Server) -> str:
    """Return a sample of the records with their seconds, and their number."""
    shown = ", ".join(f"{mark} at {server.seconds[mark]} s" for mark in sorted(marks)[:5])
    return f"{len(marks)} ({shown})"
