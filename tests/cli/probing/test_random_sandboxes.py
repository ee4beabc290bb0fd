"""The probe finds the switches of random sandboxes.

`ITNIO_PROBED_SANDBOXES=200` probes 200 of them, and `python -m tests.cli.probing.test_random_sandboxes` prints the
figures.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import attrs
import pytest

from itnio_voice.cli.probing.probe import most_requests
from itnio_voice.sandbox import Behaviour

from .account import account, as_json, probed, values

SANDBOXES = int(os.environ.get("ITNIO_PROBED_SANDBOXES", "6"))
DEFAULT = Behaviour()
LOWEST_CAP = 40
CHOICES: Mapping[str, Sequence[Any]] = {
    "ends": ("[)", "[]", "(]", "()"),
    "selects_by": ("submit_time", "call_time", "hangup_time"),
    "order": ("ascending", "descending", "unstable", "heap", "by_id", "by_hash"),
    "past_last": ("empty", "first", "first_silent"),
    "always_first_page": (False, False, False, True),
    "endless": ("never", "never", "uncounted", "counted"),
    "total_cap": (None, None, LOWEST_CAP, 1000, 2500),
    "total_of_page": (False, False, False, True),
    "total_one_short": (False, True),
    "duplicates": (0.0, 0.0, 0.2),
    "max_size": (100, 50, 20),
    "sizes": ("any", "reduced", "raised", "refused"),
    "time_offset": ("honoured", "ignored"),
    "refuses_future_end": (False, True),
    "retention": (timedelta(days=62), timedelta(days=30), timedelta(days=89), None),
    "refuses_beyond_retention": (True, True, False),
    "max_span": (timedelta(days=31), timedelta(days=7), timedelta(hours=12), timedelta(days=45)),
    "missing_record": ("null", "empty", "absent", "parameter"),
    "timestamp_tolerance": (300.0, 900.0),
    "clock_skew": (0.0, 90.0, -7200.0),
    "latency": (0.0, 0.25),
    "omits": ((), ("total",), ("size",), ("current", "pages")),
    "null_records": (False, True),
    "numbers_as_text": (False, True),
    "status_as_number": (False, True),
    "byte_order_mark": (False, True),
    "gzip": (False, True),
}
PER_DAY = 300
TOTALS = {"total_of_page", "total_one_short", "total_cap"}
AT_LEAST = {"timestamp_tolerance"}
ABOUT = {"duplicates": 0.15, "clock_skew": 1.0}
"""How far an estimate may be off."""


def drawn(random: Random) -> dict[str, Any]:
    """Return the values of random switches that differ from the defaults, without those that another one hides."""
    switches = {name: random.choice(choices) for name, choices in CHOICES.items() if random.random() < 0.5}
    for name in hidden(switches):
        switches.pop(name, None)
    return {name: value for name, value in switches.items() if value != attrs.asdict(DEFAULT)[name] and value != ()}


def hidden(switches: Mapping[str, Any]) -> set[str]:
    """Return the switches that others hide from every client, or for which the account has too few records."""
    names = set[str]()
    omits = switches.get("omits", ())
    span = min(switches.get("max_span", DEFAULT.max_span), DEFAULT.max_span)
    if switches.get("always_first_page"):
        names |= {"past_last", "endless", *TOTALS}
    if switches.get("endless", "never") != "never":
        names |= {"past_last"}
    if "total" in omits:
        names |= TOTALS | ({"endless"} if switches.get("endless") == "counted" else set())
    if switches.get("total_of_page"):
        names |= {"total_one_short", "total_cap"} | ({"max_size"} if "size" in omits else set())
    if switches.get("total_cap") == LOWEST_CAP:
        names |= {"total_one_short"}
    if "current" in omits and switches.get("past_last") == "first":
        names |= {"past_last"}
    if (switches.get("total_cap") or 0) > PER_DAY * span.days:
        names |= {"total_cap"}
    if switches.get("retention", DEFAULT.retention) is None or not switches.get("refuses_beyond_retention", True):
        names |= {"retention"}
    if switches.get("retention", DEFAULT.retention) == timedelta(days=30):
        names |= {"max_span"} if span == DEFAULT.max_span else set()
    return names


def is_found(name: str, value: Any, found: Any) -> bool:
    """Return whether the value that was found is that of the sandbox."""
    if name in AT_LEAST:
        return bool(found <= value)
    return bool(abs(found - value) <= ABOUT[name]) if name in ABOUT else found == as_json(value)


def outcome(seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Probe a random sandbox; return its switches, and how each switch was found: `found`, `not known` or `wrong`."""
    random = Random(seed)
    switches = drawn(random)
    behaviour = Behaviour(**switches)
    report, _ = probed(behaviour, account(random, per_day=PER_DAY), backend=random.choice(("asyncio", "trio")))
    found = values(report)
    results = {}
    for name in CHOICES:
        value = attrs.asdict(behaviour, recurse=False)[name]
        if name not in found:
            results[name] = "not known"
        else:
            results[name] = "found" if is_found(name, value, found[name]) else f"wrong: {found[name]}"
    assert report.requests <= most_requests()
    return switches, results


@pytest.mark.parametrize("seed", range(SANDBOXES))
def test_each_switch_of_a_random_sandbox_is_found(seed: int) -> None:
    """Each switch that was drawn is found, and no other one has a wrong value."""
    switches, results = outcome(seed)

    assert {} == {name: result for name, result in results.items() if result.startswith("wrong")}
    assert {} == {name: results[name] for name in switches if results[name] != "found"}


if __name__ == "__main__":
    figures = Counter[str]()
    for seed in range(SANDBOXES):
        switches, results = outcome(seed)
        figures += Counter(results[name].partition(":")[0] for name in switches)
        figures += Counter(f"default {results[name].partition(':')[0]}" for name in results.keys() - switches)
        bad = {
            name: result
            for name, result in results.items()
            if result.startswith("wrong") or (name in switches and result != "found")
        }
        if bad:
            print(seed, bad, switches)  # noqa: T201
    print(dict(figures))  # noqa: T201
