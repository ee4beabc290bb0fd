"""The switches: their defaults and what they refuse."""

from datetime import timedelta
from typing import Any

import attrs
import pytest

from itnio_voice.sandbox import Behaviour, Fault


def test_defaults_follow_the_page() -> None:
    """Without a word, a sandbox keeps two months, serves 31 days at a time and makes no faults."""
    behaviour = Behaviour()

    assert behaviour.max_span == timedelta(days=31)
    assert behaviour.retention == timedelta(days=62)
    assert behaviour.faults == ()
    assert hash(behaviour) == hash(Behaviour())


@pytest.mark.parametrize(
    "wrong",
    [
        {"ends": "[["},
        {"order": "random"},
        {"selects_by": "answer_time"},
        {"past_last": "last"},
        {"appears": "never"},
        {"missing_record": "404"},
        {"late_share": 1.1},
        {"late_by": -1},
        {"duplicates": -0.1},
        {"changes_after": -1},
        {"max_span": timedelta()},
        {"retention": timedelta(days=-1)},
        {"max_size": 0},
        {"max_size": 101},
        {"timestamp_tolerance": -1},
        {"omits": {"searchCount"}},
        {"rate_limit": 0},
        {"latency": "1"},
        {"latency_per_row": -1},
        {"window_fails_over": -1},
        {"window_times_out_over": timedelta()},
        {"window_unavailable_over": timedelta()},
        {"endless": "always"},
        {"deepest_row": 0},
        {"total_cap": 0},
        {"replicas": 0},
        {"replica_lag": -1},
        {"time_offset": "kept"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    """A switch that is set to what it does not have says so at once."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Behaviour(**wrong)


def test_faults_are_faults() -> None:
    """What is not a Fault does not pass as one."""
    with pytest.raises(TypeError):
        Behaviour(faults=("drop",))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("wrong", [{"kind": "odd"}, {"share": 2}, {"times": -1}, {"retry_after": -1}])
def test_wrong_faults_are_refused(wrong: dict[str, Any]) -> None:
    """A fault of no kind, or with an impossible share or number, is refused."""
    fields: dict[str, Any] = {"kind": "drop"} | wrong

    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault(**fields)


def test_names_may_be_given_loosely() -> None:
    """One name is one name and not its letters; lists become sets, and variants come from evolve."""
    behaviour = attrs.evolve(Behaviour(omits="total"), allowed_addresses=["127.0.0.1"])

    assert behaviour.omits == frozenset({"total"})
    assert behaviour.allowed_addresses == frozenset({"127.0.0.1"})
