"""Measurement of alternatives: in turns, each round on new values."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs

T = TypeVar("T")


def timed(
    ways: Mapping[str, Callable[[T], object]], clock: Callable[[], float] = time.process_time
) -> dict[str, Callable[[T], float]]:
    """Return a function that does the same, and returns its duration in seconds."""

    def run(way: Callable[[T], object], work: T) -> float:
        began = clock()
        way(work)
        return clock() - began

    return {name: partial(run, way) for name, way in ways.items()}


def by_turns(ways: Mapping[str, Callable[[T], float]], rounds: Sequence[T]) -> dict[str, float]:
    """Return the median of the seconds of each way; each does each round's work once.

    The machine is not the same from one minute to the next, so all ways take their turn in each round, and each round
    begins with another one. What has been imported for others is kept out of the garbage collector's sight, and the
    garbage of one way is collected before the next.
    """
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn, work in enumerate(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            times[name].append(ways[name](work))
    return {name: statistics.median(spent) for name, spent in times.items()}


@attrs.frozen
class Line:
    """A line of the table: the measured operation, its figure with unit, and a ratio; `goal` is the ratio's limit."""

    what: str
    figure: str
    ratio: float | None = None
    goal: float | None = None
    least: bool = False
    """Whether the goal is a minimum of the ratio, not a maximum."""

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty if there is none."""
        if self.ratio is None or self.goal is None:
            return ""
        met = self.ratio >= self.goal if self.least else self.ratio <= self.goal
        return "met" if met else "missed"

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        goal = "" if self.goal is None else f"{'≥' if self.least else '≤'} {self.goal:g}"
        return f"{self.what:58}{self.figure:>14}{ratio:>8}{goal:>9}  {self.verdict}".rstrip()
