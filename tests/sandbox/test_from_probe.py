"""Behaviours from the reports of probes."""

import json
from datetime import timedelta
from typing import Any

import attrs
import pytest

from itnio_voice.sandbox import Behaviour

REPORT: dict[str, Any] = {
    "ends": "[)",
    "order": "descending",
    "always_first_page": False,
    "max_size": 50,
    "total_cap": None,
    "max_span": 604800,
    "retention": 2592000.0,
    "latency": 1,
    "clock_skew": -7.5,
    "omits": ["total", "pages"],
    "confidence": {"ends": "certain", "selects_by": "not known"},
    "evidence": {"ends": "2 records on the boundary"},
}


@pytest.mark.parametrize("report", [REPORT, json.dumps(REPORT), json.dumps(REPORT).encode()])
def test_a_report_sets_its_switches(report: Any) -> None:
    """Durations are in seconds, lists are sets, and fields that are missing keep their defaults."""
    expected = Behaviour(
        ends="[)",
        order="descending",
        max_size=50,
        max_span=timedelta(days=7),
        retention=timedelta(days=30),
        latency=1.0,
        clock_skew=-7.5,
        omits=frozenset({"total", "pages"}),
    )

    assert expected == Behaviour.from_probe(report)


def test_an_empty_report_is_the_default() -> None:
    """What was not determined keeps its default."""
    assert Behaviour() == Behaviour.from_probe("{}") == Behaviour.from_probe({"confidence": {}})


def test_no_retention_can_be_reported() -> None:
    """A duration that may be None is accepted as null."""
    assert Behaviour.from_probe('{"retention": null}').retention is None


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("{", "must be JSON"),
        (b"\xff", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        (7, "must be a JSON object"),
        ({"end": "[)"}, "does not report end:"),
        ({"locked": True, "faults": []}, "does not report faults, locked:"),
        ({1: 2}, "does not report 1:"),
        ({"ends": "[["}, "ends cannot be '\\[\\['"),
        ({"ends": None}, "ends cannot be None"),
        ({"order": []}, "order cannot be \\[\\]"),
        ({"gzip": 1}, "gzip cannot be 1"),
        ({"max_size": True}, "max_size cannot be True"),
        ({"max_size": 2.5}, "max_size cannot be 2.5"),
        ({"max_size": 101}, "max_size is a number of 1 to 100"),
        ({"max_span": None}, "max_span"),
        ({"max_span": "31d"}, "max_span cannot be '31d'"),
        ({"max_span": 0}, "max_span must be positive"),
        ({"max_span": 1e300}, "max_span cannot be 1e\\+300"),
        ({"max_span": float("nan")}, "max_span cannot be nan"),
        ({"latency": -1}, "latency is a number of 0"),
        ({"omits": "total"}, "omits cannot be 'total'"),
        ({"omits": ["other"]}, "omits may name"),
    ],
)
def test_wrong_reports_are_named(report: Any, text: str) -> None:
    """A wrong report is a ValueError that names the key and the value."""
    with pytest.raises(ValueError, match=text):
        Behaviour.from_probe(report)


def test_each_value_of_a_behaviour_can_be_reported() -> None:
    """A report of all fields, except for faults and the account's state, is read back."""
    behaviour = Behaviour(deepest_row=7, changes_after=2.0, rate_limit=5.0, window_times_out_over=timedelta(days=1))
    left_out = {"faults", "allowed_addresses", "locked"}
    fields = {name: value for name, value in attrs.asdict(behaviour).items() if name not in left_out}

    report = json.dumps(fields, default=lambda value: value.total_seconds() if hasattr(value, "days") else list(value))

    assert behaviour == Behaviour.from_probe(report)
