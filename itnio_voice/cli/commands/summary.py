"""The headline figures of the demonstration, computed record by record."""

from decimal import Decimal

import attrs

from ..._model.records import DEFAULT_CURRENCY, CallRecord

__all__ = ["Summary"]


@attrs.define
class Summary:
    """Calls, how many of them were answered and for how many seconds, and what they cost by currency."""

    calls: int = 0
    answered: int = 0
    seconds: int = 0
    cost: dict[str, Decimal] = attrs.field(factory=dict)

    def add(self, record: CallRecord) -> None:
        """Add a record."""
        self.calls += 1
        if record.answered:
            self.answered += 1
            self.seconds += record.call_duration or 0
        if record.cost is not None:
            currency = record.currency or DEFAULT_CURRENCY
            self.cost[currency] = self.cost.get(currency, Decimal()) + record.cost

    @property
    def answer_seizure_ratio(self) -> float | None:
        """The share of calls that were answered (ITU-T E.411), from 0 to 1; None without calls."""
        return self.answered / self.calls if self.calls else None

    @property
    def average_call_duration(self) -> float | None:
        """The mean duration of answered calls, in seconds; None without any."""
        return self.seconds / self.answered if self.answered else None
