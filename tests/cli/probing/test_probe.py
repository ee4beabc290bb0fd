"""The probe on sandboxes in virtual time: each switch alone, its pace, its privacy, and how late records appear."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import attrs
import pytest

from itnio_voice import IPRestrictedError, UserLockedError
from itnio_voice.cli.probing.findings import Finding
from itnio_voice.cli.probing.probe import NAMES, most_requests
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .account import NOW, account, now, probed, record, values
from .test_random_sandboxes import CHOICES, DEFAULT, is_found

RECORDS = account(Random(1), per_day=90, days=31)
ALONE = [
    (name, value)
    for name, choices in CHOICES.items()
    for value in dict.fromkeys(choices)
    if value not in (attrs.asdict(DEFAULT)[name], ())
]
UNLIMITED = [("retention", None)]
"""Switches that no answer shows: no limit cannot be distinguished from an answer without the expired records."""


@pytest.fixture(scope="module")
def filled() -> Iterator[Sandbox]:
    """Return a sandbox that keeps the records of the first probe."""
    sandbox = Sandbox(clock=now)
    yield sandbox
    sandbox.close()


def findings(behaviour: Behaviour, records: list[Any], **options: Any) -> dict[str, Finding]:
    """Probe a sandbox, and return the findings by name."""
    report, _ = probed(behaviour, records, **options)
    return {finding.name: finding for finding in report.findings}


@pytest.mark.parametrize(
    ("name", "value"), [each for each in ALONE if each not in UNLIMITED], ids=lambda value: str(value).replace(" ", "-")
)
def test_each_switch_is_found(name: str, value: Any, filled: Sandbox) -> None:
    """A sandbox that differs in one switch is reported with it, and with no other wrong value."""
    behaviour = attrs.evolve(DEFAULT, **{name: value})
    report, _ = probed(behaviour, RECORDS, sandbox=filled)
    found = values(report)

    assert is_found(name, attrs.asdict(behaviour)[name], found[name])
    others = {other: attrs.asdict(behaviour)[other] for other in CHOICES if other in found}
    assert {} == {other: found[other] for other in others if not is_found(other, others[other], found[other])}


def test_the_report_makes_a_sandbox_that_behaves_like_the_server(filled: Sandbox) -> None:
    """A probe of a sandbox that was made from a report has the same report."""
    behaviour = Behaviour(ends="[)", order="descending", past_last="first", max_size=50, latency=0.25)
    report, _ = probed(behaviour, RECORDS, sandbox=filled)
    copy = Behaviour.from_probe(report.to_json())

    assert report.values == probed(copy, RECORDS, sandbox=filled)[0].values
    assert behaviour == attrs.evolve(copy, latency=0.25)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_requests_are_paced_and_few(backend: str, filled: Sandbox) -> None:
    """At the default rate, there is a second between two requests, and the number of requests has its limit."""
    report, sandbox = probed(Behaviour(), RECORDS, sandbox=filled, backend=backend, rate=1.0)
    at = [request.at for request in sandbox.requests]

    assert report.requests == len(at) <= most_requests()
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(at))
    assert all(request.path.startswith("/recordGroup") for request in sandbox.requests)


def test_one_request_has_a_wrong_timestamp(filled: Sandbox) -> None:
    """One refused timestamp is enough for the tolerance: no account is locked by the probe."""
    _, sandbox = probed(Behaviour(), RECORDS, sandbox=filled)

    assert ["-16"] == [request.answered for request in sandbox.requests if request.answered in {"-1", "-16"}]


def test_an_empty_account_has_a_report() -> None:
    """Without records, what they would show is not known, for that reason; limits and forms are known."""
    found = findings(Behaviour(), [])

    assert "there are no records in the last 30 days" == found["ends"].evidence
    assert {"retention", "max_span", "missing_record", "clock_skew"} < {name for name in found if found[name].is_known}
    assert set(NAMES) == set(found)


@pytest.mark.parametrize("count", range(1, 8))
def test_a_few_records_are_enough_for_ends_and_pages(count: int) -> None:
    """An account with a handful of records is reported as far as they show it, and nothing is wrong."""
    records = [record(NOW - 3600 * number - 5000, f"id-{number}") for number in range(count)]
    behaviour = Behaviour(ends="(]", past_last="first_silent")
    report, _ = probed(behaviour, records)

    assert {"ends": "(]", "selects_by": "submit_time"}.items() <= values(report).items()
    assert values(report).get("past_last", "first_silent") == "first_silent"
    assert ("past_last" in values(report)) == (count > 1)


def test_a_busy_account_is_probed() -> None:
    """Thousands of records an hour are no problem: the range is narrowed."""
    random = Random(2)
    records = [record(NOW - 900 - random.randrange(7200), f"{random.getrandbits(60):x}") for _ in range(9000)]
    found = findings(Behaviour(order="heap", ends="()"), records)

    assert ("heap", "()") == (found["order"].value, found["ends"].value)


def test_nothing_of_a_record_is_in_the_report(filled: Sandbox) -> None:
    """Neither ids nor times nor other texts of records are in the JSON or in the evidence."""
    report, _ = probed(Behaviour(), RECORDS, sandbox=filled)
    shown = report.to_json() + repr(report)

    assert [] == [row["voiceId"] for row in RECORDS if row["voiceId"] in shown or row["submitTime"] in shown]


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(locked=True), UserLockedError),
        (Behaviour(allowed_addresses=frozenset({"10.0.0.1"})), IPRestrictedError),
    ],
)
def test_a_refused_account_ends_the_probe(behaviour: Behaviour, error: type[Exception], filled: Sandbox) -> None:
    """A refusal that each request would have ends the probe with the first one."""
    with pytest.raises(error):
        probed(behaviour, RECORDS, sandbox=filled)

    assert 1 == len(filled.requests)


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_wrong_minutes_are_refused(minutes: float) -> None:
    """They are refused before the first request."""
    with pytest.raises(ValueError, match=f"minutes must be a number from 0, not {minutes}"):
        probed(Behaviour(), [], minutes=minutes)


def live() -> list[Any]:
    """Return records of calls that are submitted while the probe watches."""
    return [*RECORDS, *(record(NOW + 7 * number, f"live-{number}", length=60) for number in range(120))]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"appears": "submitted", "late_share": 0.0}),
        ({"appears": "finished"}, {"appears": "finished", "late_share": 0.0}),
        ({"late_share": 1.0, "late_by": 40.0}, {"appears": "submitted", "late_share": 1.0}),
    ],
)
def test_late_records_are_measured(backend: str, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """With minutes, the records that appear show when they do, and how many of them are late by how much."""
    report, sandbox = probed(Behaviour(**changes), live(), backend=backend, rate=1.0, minutes=10.0)
    found = values(report)

    assert expected.items() <= found.items()
    assert abs(found.get("late_by", 40.0) - 40.0) <= 15.0
    assert all(later.at - earlier.at >= 0.999 for earlier, later in pairwise(sandbox.requests))
    assert len(sandbox.requests) <= most_requests(10.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"window_times_out_over": timedelta(days=3)},
        {"window_unavailable_over": timedelta(days=3)},
        {"window_fails_over": 150},
        {"deepest_row": 10},
        {"replicas": 3, "replica_lag": 5.0},
        {"rate_limit": 0.5},
        {"faults": (Fault("status_503", 0.1),)},
        {"faults": (Fault("truncated", 0.1),)},
        {"faults": (Fault("truncated", path="/recordGroup"),)},
        {"faults": (Fault("system_error", path="/recordGroup"),)},
    ],
    ids=str,
)
def test_faults_make_no_wrong_answer(changes: dict[str, Any], filled: Sandbox) -> None:
    """With a server that fails sometimes, or for long ranges, less is known, and nothing is wrong."""
    behaviour = Behaviour(ends="(]", order="descending", **changes)
    found = values(probed(behaviour, RECORDS, sandbox=filled)[0])

    known = {name: attrs.asdict(behaviour)[name] for name in CHOICES if name in found}
    assert "refuses_future_end" in known
    assert {} == {name: found[name] for name, value in known.items() if not is_found(name, value, found[name])}


def test_without_minutes_nothing_is_watched(filled: Sandbox) -> None:
    """The watch is optional."""
    found = findings(Behaviour(late_share=1.0), RECORDS, sandbox=filled)

    assert "records are watched only with --minutes" == found["late_by"].evidence
