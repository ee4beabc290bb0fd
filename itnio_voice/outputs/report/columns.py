"""The columns that the figures are computed from."""

import attrs

from .._stored.columns import AMOUNT, SECONDS, TEXT, TIME, Columns

__all__ = ["COLUMNS", "PHONE"]

PHONE = "phone_name"
"""The column that only files of phone calls have."""

_OPTIONAL = attrs.evolve(TEXT, optional=True)

COLUMNS: Columns = {
    **dict.fromkeys(["code", "currency", "termination_code", "termination_reason"], TEXT),
    # Only one kind of record has a key or a phone, and only files about several accounts have an account.
    **dict.fromkeys(["feedback_value", "sip_group_name", PHONE, "account"], _OPTIONAL),
    **dict.fromkeys(["submit_time", "call_time", "ringing_time", "answer_time"], TIME),
    **dict.fromkeys(["call_duration", "charged_duration"], SECONDS),
    "cost": AMOUNT,
    "display_num": TEXT,
    "hangup_time": TIME,
    "settle_pay": AMOUNT,
}
"""The columns of the view `calls`, which has the column `kind` as well."""
