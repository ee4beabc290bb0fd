"""Whole walks against a server that does what it likes: no record lost, none doubled, nothing but documented errors."""

import os

import pytest

from .simulation import simulate

SCENARIOS = int(os.environ.get("ITNIO_SCENARIOS", "100"))
FIRST = int(os.environ.get("ITNIO_SCENARIOS_FROM", "0"))
SLOWER = 20
"""A scenario in real time, over a socket, for so many in this process."""

FOUND = {
    "a failure of a window before one that had failed": 212,
    "a record of an earlier pass, that the second of three windows did not show": 2436,
    "the same, in windows that a cancelled step had read": 2634,
}
"""Seeds of scenarios that once went wrong, by what went wrong."""


def test_scenarios() -> None:
    """Each holds; `ITNIO_SCENARIOS` says how many are run, `ITNIO_SCENARIOS_FROM` the first."""
    whole = sum(simulate(seed).whole for seed in range(FIRST, FIRST + SCENARIOS))

    assert whole > SCENARIOS // 2


def test_scenarios_over_a_socket() -> None:
    """Some hold over a socket too, with the session's own client."""
    for seed in range(FIRST, FIRST + SCENARIOS // SLOWER):
        simulate(seed, real=True)


@pytest.mark.parametrize("seed", FOUND.values(), ids=FOUND)
def test_what_once_went_wrong(seed: int) -> None:
    """It does not go wrong again."""
    simulate(seed)
