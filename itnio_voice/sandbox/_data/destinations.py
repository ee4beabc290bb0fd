"""The tables that records are drawn from: destinations, prices and ways to fail."""

import math
from itertools import accumulate
from typing import Literal

import attrs

__all__ = ["ANSWERED", "DESTINATIONS", "FAILURES", "FAILURE_SHARES", "TRAFFIC", "Destination", "Outcome"]


@attrs.frozen
class Destination:
    """An operator's area.

    `prefix` is the country code, `digits` the length of the number after it; `traffic` its weight among the others;
    `ring_seconds` the mean time until an answer. The tariff: `per_second` and `base_cost` in 0.00001 of the currency,
    so that every amount is exact; the first charging step and the following ones in seconds.
    """

    prefix: str
    digits: int
    code: str
    traffic: int
    answer_seizure_ratio: float
    ring_seconds: int
    per_second: int
    first_step: int
    step: int
    base_cost: int = 0
    currency: Literal["USD", "EUR"] = "USD"

    @property
    def bill_period(self) -> str:
        """The charging steps as the vendor writes them: `60+6`."""
        return f"{self.first_step}+{self.step}"

    def charged(self, seconds: int) -> int:
        """Return the seconds that are charged for a call of `seconds`."""
        if seconds <= self.first_step:
            return self.first_step if seconds else 0
        return self.first_step + math.ceil((seconds - self.first_step) / self.step) * self.step


DESTINATIONS = (
    Destination("93", 9, "Afghanistan(Kandahar)", 2, 0.31, 9, 408, 20, 20, base_cost=100000),
    Destination("62", 10, "Indonesia(Telkomsel)", 24, 0.44, 11, 62, 6, 6),
    Destination("62", 9, "Indonesia(Jakarta)", 6, 0.52, 12, 34, 1, 1),
    Destination("63", 10, "Philippines(Globe)", 17, 0.38, 10, 118, 60, 60),
    Destination("91", 10, "India(Reliance Jio)", 21, 0.41, 9, 22, 60, 60),
    Destination("84", 9, "Vietnam(Viettel)", 11, 0.47, 8, 96, 6, 6),
    Destination("66", 9, "Thailand(AIS)", 8, 0.55, 10, 71, 30, 6),
    Destination("55", 11, "Brazil(Sao Paulo)", 9, 0.36, 13, 27, 30, 6),
    Destination("52", 10, "Mexico(Telcel)", 7, 0.40, 12, 41, 60, 60, base_cost=500),
    Destination("234", 10, "Nigeria(MTN)", 5, 0.29, 9, 190, 1, 1),
    Destination("49", 10, "Germany(Telekom)", 4, 0.61, 11, 58, 1, 1, currency="EUR"),
    Destination("33", 9, "France(Orange)", 3, 0.58, 12, 45, 20, 20, currency="EUR"),
    Destination("34", 9, "Spain(Movistar)", 3, 0.57, 10, 49, 60, 60, base_cost=1000, currency="EUR"),
    Destination("1", 10, "United States(California)", 4, 0.49, 14, 15, 6, 6),
)

TRAFFIC = tuple(accumulate(destination.traffic for destination in DESTINATIONS))
"""The cumulative weights of the destinations."""


@attrs.frozen
class Outcome:
    """The end of a failed call: SIP code and reason, its share of the failed calls, and the seconds that it rang."""

    code: str
    reason: str
    share: float = 0.0
    ring_seconds: tuple[int, int] = (0, 0)


ANSWERED = Outcome("200", "success")

FAILURES = (
    Outcome("486", "Busy Here", 0.27, (1, 8)),
    Outcome("480", "Temporarily Unavailable", 0.30, (20, 45)),
    Outcome("487", "Request Terminated", 0.18, (5, 40)),
    Outcome("404", "Not Found", 0.12),
    Outcome("503", "Service Unavailable", 0.06),
    Outcome("603", "Decline", 0.07, (1, 15)),
)

FAILURE_SHARES = tuple(accumulate(outcome.share for outcome in FAILURES[:-1]))
"""The cumulative shares, without the last one, which is the rest."""
