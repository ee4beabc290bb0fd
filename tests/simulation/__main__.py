"""Run many scenarios: `python -m tests.simulation FROM COUNT [--trait NAME] [--processes N]`.

Prints a summary and the seed of each failed scenario; exits with 1 if any failed.
"""

# ruff: noqa: T201
import argparse
import logging
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from random import Random

import attrs

from . import TRAITS, Scenario, simulate
from .plan import Plan

CHUNK = 25
"""The number of scenarios per task of a process."""
LONGEST = 120
"""CPU seconds that a scenario may take: this also ends one that neither waits nor sends."""


@attrs.define
class Tally:
    """The results of a number of scenarios, by trait."""

    scenarios: Counter[str] = attrs.field(factory=Counter)
    complete: Counter[str] = attrs.field(factory=Counter)
    requests: Counter[str] = attrs.field(factory=Counter)
    milliseconds: Counter[str] = attrs.field(factory=Counter)
    failures: list[tuple[int, str, str]] = attrs.field(factory=list)

    def add(self, seed: int, scenario: Scenario, failure: str, seconds: float) -> None:
        """Count a scenario under each of its traits."""
        names = scenario.plan.traits or ("none",)
        for name in names:
            self.scenarios[name] += 1
            self.complete[name] += scenario.complete and not failure
            self.requests[name] += scenario.requests
            self.milliseconds[name] += round(1000 * seconds)
        if failure:
            self.failures.append((seed, "+".join(names), failure))

    def join(self, other: "Tally") -> None:
        """Add the counts of another process."""
        for field in ("scenarios", "complete", "requests", "milliseconds"):
            getattr(self, field).update(getattr(other, field))
        self.failures += other.failures


def _too_long(*_: object) -> None:
    message = f"more than {LONGEST} s of CPU: it is endless, or their number quadratic"
    raise AssertionError(message)


def run(seeds: range, traits: tuple[str, ...] | None = None) -> tuple[int, int, int, Tally]:
    """Run the scenarios of some seeds; return the numbers of all, of complete ones and of requests, and the tally."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    signal.signal(signal.SIGVTALRM, _too_long)
    tally, complete, requests = Tally(), 0, 0
    for seed in seeds:
        scenario, failure, began = Scenario(Plan(Random(), Random(), real=False)), "", time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
        try:
            simulate(seed, traits=traits, scenario=scenario)
        except Exception as error:  # noqa: BLE001 -- reported
            failure = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        complete += scenario.complete and not failure
        requests += scenario.requests
        tally.add(seed, scenario, failure, time.process_time() - began)
    return len(seeds), complete, requests, tally


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def main() -> int:
    """Run the scenarios of the command line, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run many scenarios.")
    parser.add_argument("first", type=int, metavar="FROM", help="the first seed")
    parser.add_argument("count", type=int, metavar="COUNT", help="the number of seeds")
    parser.add_argument("--trait", action="append", choices=[*TRAITS, "none"], help="give all these traits, or none")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shown", type=int, default=20, help="the number of failures to print for each trait")
    options = parser.parse_args()
    traits = None if options.trait is None else tuple(name for name in options.trait if name != "none")
    began, tally, scenarios, complete, requests = time.monotonic(), Tally(), 0, 0, 0
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(partial(run, traits=traits), _chunks(options.first, options.count)):
            scenarios, complete, requests = scenarios + part[0], complete + part[1], requests + part[2]
            tally.join(part[3])
    seconds = time.monotonic() - began
    failures = Counter(name for _, names, _ in tally.failures for name in names.split("+"))
    print(f"{'trait':<20} scenarios complete failures  requests  CPU s")
    for name in sorted(tally.scenarios):
        counts = (tally.scenarios[name], tally.complete[name], failures[name], tally.requests[name])
        seconds_of_cpu = tally.milliseconds[name] / 1000
        print(f"{name:<20} {counts[0]:9} {counts[1]:8} {counts[2]:8} {counts[3]:9} {seconds_of_cpu:6.1f}")
    shown = Counter[str]()
    for seed, names, failure in sorted(tally.failures, key=lambda found: (found[1], found[0])):
        shown[names] += 1
        if shown[names] <= options.shown:
            print(f"seed {seed} ({names}): {failure:.300}")
    rate = scenarios / seconds
    print(f"{scenarios} scenarios, {requests} requests, {complete} completed walks, {len(tally.failures)} failures")
    print(f"{seconds:.0f} s: {rate:.1f} scenarios a second, 50,000 in {50_000 / rate / 60:.0f} minutes")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
