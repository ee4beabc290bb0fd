"""Complete walks against randomly misbehaving servers: no record lost or doubled, only documented errors."""

import os

import pytest

from ..simulation import TRAITS, simulate

SCENARIOS = int(os.environ.get("ITNIO_SCENARIOS", "100"))
FIRST = int(os.environ.get("ITNIO_SCENARIOS_FROM", "0"))
SLOWER = 20
"""One in this number of scenarios of a process runs in real time, over a socket."""
OF_A_TRAIT = 3
"""The number of scenarios for each trait."""

FOUND = {
    "a failure of a window before one that had failed": 212,
    "a record of an earlier pass, that the second of three windows did not show": 2436,
    "the same, in windows that a cancelled step had read": 2634,
}
"""Seeds of scenarios that found a bug, by description."""


def test_scenarios() -> None:
    """Run random scenarios; `ITNIO_SCENARIOS` sets their number, `ITNIO_SCENARIOS_FROM` the first."""
    complete = sum(simulate(seed, traits=()).complete for seed in range(FIRST, FIRST + SCENARIOS))

    assert complete > SCENARIOS // 2


@pytest.mark.parametrize("trait", TRAITS)
def test_scenarios_of_a_trait(trait: str) -> None:
    """Run scenarios of one trait each, in addition to the random switches."""
    for seed in range(FIRST, FIRST + OF_A_TRAIT):
        simulate(seed, traits=[trait])


def test_scenarios_over_a_socket() -> None:
    """Some scenarios run over a socket too, with the session's own client."""
    for seed in range(FIRST, FIRST + SCENARIOS // SLOWER):
        simulate(seed, real=True, traits=())


@pytest.mark.parametrize("seed", FOUND.values(), ids=FOUND)
def test_scenarios_of_fixed_bugs(seed: int) -> None:
    """The scenarios of fixed bugs pass."""
    simulate(seed, traits=())


def test_a_seed_is_one_scenario() -> None:
    """The same seed draws the same traits and the same requests, in any order of tests."""
    first = simulate(6, traits=["fixed_order"])
    simulate(8, traits=())
    again = simulate(6, traits=["fixed_order"])

    assert (first.requests, first.complete) == (again.requests, again.complete)
