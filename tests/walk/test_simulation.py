"""Complete walks against a server that does what it likes: no record lost, none doubled, only documented errors."""

import os

import pytest

from ..simulation import TRAITS, simulate

SCENARIOS = int(os.environ.get("ITNIO_SCENARIOS", "100"))
FIRST = int(os.environ.get("ITNIO_SCENARIOS_FROM", "0"))
SLOWER = 20
"""One scenario in real time, over a socket, for this number in this process."""
OF_A_TRAIT = 3
"""Scenarios of each trait."""

FOUND = {
    "a failure of a window before one that had failed": 212,
    "a record of an earlier pass, that the second of three windows did not show": 2436,
    "the same, in windows that a cancelled step had read": 2634,
}
"""Seeds of scenarios that once went wrong, by what went wrong."""


def test_scenarios() -> None:
    """Each holds; `ITNIO_SCENARIOS` sets their number, `ITNIO_SCENARIOS_FROM` the first."""
    complete = sum(simulate(seed, traits=()).complete for seed in range(FIRST, FIRST + SCENARIOS))

    assert complete > SCENARIOS // 2


@pytest.mark.parametrize("trait", TRAITS)
def test_scenarios_of_a_trait(trait: str) -> None:
    """Servers and readers with one trait each, beside what is drawn for all."""
    for seed in range(FIRST, FIRST + OF_A_TRAIT):
        simulate(seed, traits=[trait])


def test_scenarios_over_a_socket() -> None:
    """Some hold over a socket too, with the session's own client."""
    for seed in range(FIRST, FIRST + SCENARIOS // SLOWER):
        simulate(seed, real=True, traits=())


@pytest.mark.parametrize("seed", FOUND.values(), ids=FOUND)
def test_what_once_went_wrong(seed: int) -> None:
    """It does not go wrong again."""
    simulate(seed, traits=())


def test_a_seed_is_one_scenario() -> None:
    """The same seed gives the same traits and the same requests, whatever ran before."""
    first = simulate(6, traits=["fixed_order"])
    simulate(8, traits=())
    again = simulate(6, traits=["fixed_order"])

    assert (first.requests, first.complete) == (again.requests, again.complete)
