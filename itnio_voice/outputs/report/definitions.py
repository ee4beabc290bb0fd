"""What the figures mean, as the page says it."""

from collections.abc import Mapping

from .days import FEWEST_CALLS, FEWEST_DAYS, FEWEST_WEEKS, FLOOR, LIMIT
from .figures import LONGEST_CALL
from .headline import HOME
from .measures import SHORT

__all__ = ["DEFINITIONS"]

DEFINITIONS: Mapping[str, str] = {
    "Calls": "Call records. Each counts as one seizure.",
    "Answered": "Calls that have an answer time.",
    "ASR": "Answer-seizure ratio: answered calls among all calls (ITU-T E.411, E.425).",
    "NER": (
        "Network effectiveness ratio: calls that reached the callee, answered or not, among the calls that have ended"
        " (ITU-T E.425). They are those that were answered or ended with the SIP code 200, 480, 486, 600 or 603"
        " (RFC 6076, section 4.7), and those that rang and ended with 408 or 487. Redirections (3xx) do not count."
    ),
    "ACD": "Average call duration: the mean duration of answered calls.",
    "Per day": "The mean of the complete days.",
    "Short": f"Short-call rate: calls of at most {SHORT} seconds among the answered calls.",
    "PDD": (
        "Post-dial delay: the time from the call's beginning until it rings (post-selection delay in ITU-T E.721), over"
        " the calls of which both times are known and in order. p50 is the median; 95% of the calls have at"
        " most the p95."
    ),
    "Peak concurrency": (
        "The highest number of calls at the same time, and of which moment. A call lasts from its first known time to"
        f" its hangup time. Calls without a hangup time, or of more than {LONGEST_CALL} hours, are left out."
    ),
    "Billed": "The sum of charged durations.",
    "Rounding": "Charged seconds above the duration of answered calls, as a share of their charged seconds.",
    "Cost": "The sum of costs, exact, for each currency on its own. Records without a currency are in USD.",
    HOME: (
        "The sum of settlePay, which the API sends where the quotation is not in USD, and of the costs in USD. Calls in"
        " other currencies without settlePay are not in it."
    ),
    "per min": "The cost for each billed minute. In tables, that of the cost in the home currency.",
    "Partial days": (
        "Days of which only a part was read. They are marked and have no rates of their own. They are left out of the"
        " rates per day, the comparison and the days out of line. All other figures are of all calls."
    ),
    "Days out of line": (
        f"Complete days whose value lies more than {LIMIT} times the scaled median absolute deviation (MAD × 1.4826)"
        f" from the median, and by more than {FLOOR:.0%} of it. From {FEWEST_WEEKS * 7} complete days on, the median is"
        f" that of the same weekday. Fewer than {FEWEST_DAYS} complete days are not examined, nor ratios of days of"
        f" fewer than {FEWEST_CALLS} calls."
    ),
    "Keys and phones": "Only voice messages have pressed keys, and only phone calls have SIP phones.",
}
