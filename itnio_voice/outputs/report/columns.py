"""The columns that the figures are computed from."""

import attrs

from .._stored.columns import AMOUNT, SECONDS, TEXT, TIME, Columns

__all__ = ["COLUMNS"]

COLUMNS: Columns = {
    **dict.fromkeys(["code", "currency", "termination_code", "termination_reason"], TEXT),
    "feedback_value": attrs.evolve(TEXT, optional=True),  # only one kind of record has it
    **dict.fromkeys(["submit_time", "call_time", "ringing_time", "answer_time"], TIME),
    **dict.fromkeys(["call_duration", "charged_duration"], SECONDS),
    "cost": AMOUNT,
}
"""The columns of the view `calls`."""
