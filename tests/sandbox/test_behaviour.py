"""The switches: their defaults and their validation."""

from datetime import timedelta
from typing import Any

import attrs
import pytest

from itnio_voice.sandbox import Behaviour, Fault


def test_defaults_follow_the_vendors_page() -> None:
    """By default, a sandbox keeps two months, answers windows of up to 31 days and makes no faults."""
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
        {"sizes": "odd"},
        {"timestamp_tolerance": -1},
        {"omits": {"searchCount"}},
        {"rate_limit": 0},
        {"rate_limit_window": 0},
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
    """An invalid value of a switch raises at once."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Behaviour(**wrong)


def test_faults_are_faults() -> None:
    """An object that is not a Fault is refused."""
    with pytest.raises(TypeError):
        Behaviour(faults=("drop",))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("wrong", [{"kind": "odd"}, {"share": 2}, {"times": -1}, {"retry_after": -1}])
def test_wrong_faults_are_refused(wrong: dict[str, Any]) -> None:
    """A fault of an unknown kind, or with an invalid share or number, is refused."""
    fields: dict[str, Any] = {"kind": "drop"} | wrong

    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault(**fields)


def test_names_may_be_a_string_or_any_collection() -> None:
    """A single name may be a string; lists become sets, and variants are made by `evolve`."""
    behaviour = attrs.evolve(Behaviour(omits="total"), allowed_addresses=["127.0.0.1"])

    assert behaviour.omits == frozenset({"total"})
    assert behaviour.allowed_addresses == frozenset({"127.0.0.1"})
