"""The headline figures, computed by hand."""

from datetime import UTC, datetime
from decimal import Decimal

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.cli.commands.summary import Summary

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_figures_match_those_computed_by_hand() -> None:
    """Only answered calls count for the duration, costs add up exactly, and the default currency is USD."""
    summary = Summary()
    for record in (
        VoiceRecord(answer_time=AT, call_duration=10, cost=Decimal("0.1")),
        VoiceRecord(answer_time=AT, call_duration=25, cost=Decimal("0.2"), currency="USD"),
        SipRecord(answer_time=AT, cost=Decimal("1.005"), currency="EUR"),
        VoiceRecord(call_duration=99),
    ):
        summary.add(record)

    assert 4 == summary.calls
    assert 0.75 == summary.answer_seizure_ratio
    assert 35 / 3 == summary.average_call_duration
    assert {"USD": Decimal("0.3"), "EUR": Decimal("1.005")} == summary.cost


def test_no_calls_have_no_ratios() -> None:
    """Without calls there are no ratios and no average."""
    summary = Summary()

    assert summary.answer_seizure_ratio is None
    assert summary.average_call_duration is None
