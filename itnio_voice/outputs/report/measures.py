"""The measures of call records, as expressions of SQL over the view `facts`."""

from ..._model.records import DEFAULT_CURRENCY

__all__ = ["CURRENCIES", "FACTS", "MEASURES", "SHORT", "costs"]

SHORT = 6
"""The longest duration of a short call, in seconds."""

CURRENCIES = 3
"""The maximum number of currencies of a kind that have columns in tables: those of the most records."""

# The codes of RFC 6076, section 4.7, and the vendor's older code for success. They end calls that reached the callee.
_DELIVERED = "termination_code IN ('200', '0', '480', '486', '600', '603')"
# These end a call that rang without an answer, but also calls that never rang.
_RANG_OUT = "termination_code IN ('408', '487') AND ringing_time IS NOT NULL"
# RFC 6076 leaves out redirections: another request follows them.
_REDIRECTED = "regexp_full_match(termination_code, '3[0-9][0-9]')"

FACTS = f"""
    CREATE VIEW facts AS
    SELECT *,
           submit_time::DATE AS day,
           answer_time IS NOT NULL AS answered,
           answered AND call_duration <= {SHORT} AS short,
           answered OR {_DELIVERED} OR ({_RANG_OUT}) AS delivered,
           answered OR (termination_code IS NOT NULL AND NOT {_REDIRECTED}) AS has_outcome,
           CASE WHEN ringing_time >= call_time THEN epoch(ringing_time - call_time) END AS delay,
           CASE WHEN answered AND call_duration IS NOT NULL THEN charged_duration END AS charged_of_talked,
           coalesce(currency, '{DEFAULT_CURRENCY}') AS quoted_in,
           coalesce(settle_pay, CASE WHEN quoted_in = '{DEFAULT_CURRENCY}' THEN cost END) AS home,
           cost <> 0 AND home IS NULL AS unconverted
    FROM calls
"""
"""The view of the records with what the measures need: flags, delays in seconds, and amounts in the home currency."""

MEASURES = """
    count(*) AS calls,
    count(*) FILTER (answered) AS answered,
    count(*) FILTER (answered) / nullif(count(*), 0) AS asr,
    count(*) FILTER (has_outcome AND delivered) / nullif(count(*) FILTER (has_outcome), 0) AS ner,
    avg(coalesce(call_duration, 0)) FILTER (answered) AS acd,
    count(*) FILTER (short) / nullif(count(call_duration) FILTER (answered), 0) AS short,
    avg(delay) AS pdd,
    quantile_cont(delay, 0.5) AS pdd_median,
    quantile_cont(delay, 0.95) AS pdd_p95,
    coalesce(sum(charged_duration), 0) / 60 AS minutes,
    sum(charged_of_talked - call_duration) / nullif(sum(charged_of_talked), 0) AS rounding,
    sum(home) AS home,
    count(*) FILTER (unconverted) AS unconverted
"""
"""The measures of a group of records: durations in seconds, ratios from 0 to 1, and NULL without a divisor."""


def costs(count: int) -> str:
    """Return the sums of the first currencies: `cost_0` and so on, and the seconds that they are for."""
    return "".join(
        f", sum(cost) FILTER (place = {number}) AS cost_{number}"
        f", coalesce(sum(charged_duration) FILTER (place = {number} AND cost IS NOT NULL), 0) AS seconds_{number}"
        for number in range(count)
    )
