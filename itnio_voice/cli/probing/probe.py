"""The probe: its questions in order, each with the switches that it answers."""

import math
import time
from collections.abc import Awaitable, Callable, Iterable

import httpx

from ..._client.session import DEFAULT_BASE_URL
from ..._http.credentials import Credentials
from ..._model.records import CallRecord, VoiceRecord
from .account import FORMS, SERVER, ask_server, forms_of
from .exchange import Exchange, LimitReachedError
from .findings import Finding, Report, not_known
from .ordering import ORDER, ask_order
from .paging import PAGES, SIZES, TOTALS, ask_pages, ask_sizes, ask_totals
from .ranges import ENDS, LIMITS, SELECTS, ask_ends, ask_limits, ask_selection
from .sample import Sample, find_sample
from .watching import INTERVAL, WATCHED, watch

__all__ = ["NAMES", "most_requests", "probe"]

NAMES = (*ENDS, *ORDER, *SELECTS, *PAGES, *SIZES, *TOTALS, *LIMITS, *SERVER, *FORMS, *WATCHED)
"""The switches, in the order of a report."""

_MOST_READS = 55
_TIMEOUT = 30.0
_Ask = Callable[[Exchange, Sample], Awaitable[Iterable[Finding]]]
_OF_RECORDS: tuple[tuple[tuple[str, ...], _Ask], ...] = (
    (PAGES, ask_pages),
    (SELECTS, ask_selection),
    (ENDS, ask_ends),
    (ORDER, ask_order),
    (SIZES, ask_sizes),
    (TOTALS, ask_totals),
)
"""The questions that need records, in the order in which they are asked."""
_OF_SERVER: tuple[tuple[tuple[str, ...], Callable[[Exchange], Awaitable[Iterable[Finding]]]], ...] = (
    (LIMITS, ask_limits),
    (SERVER, ask_server),
)


def most_requests(minutes: float = 0.0) -> int:
    """Return the maximum number of requests of a probe, apart from the second attempts of those that fail."""
    return _MOST_READS + 2 * math.ceil(minutes * 60 / INTERVAL)


async def probe(
    credentials: Credentials,
    client: httpx.AsyncClient,
    *,
    base_url: str = DEFAULT_BASE_URL,
    of: type[CallRecord] = VoiceRecord,
    rate: float | None = 1.0,
    minutes: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Measure an account's server by at most `most_requests(minutes)` reads, and return the findings.

    `rate` is the maximum number of requests per second, None for no maximum. In the last `minutes`, it watches how late
    records appear. `clock` returns this machine's time in Unix seconds. The client gets event hooks, and is not closed.

    Raises:
        ItnioError: if the first request is not answered with a page, if the credentials are refused, or if three
            requests in a row fail.
        ValueError: if `rate` or `minutes` is out of range.
    """
    if not 0 <= minutes < math.inf:
        message = f"minutes must be a number from 0, not {minutes!r}"
        raise ValueError(message)
    exchange = Exchange(
        credentials=credentials,
        client=client,
        base_url=base_url,
        of=of,
        rate=rate,
        limit=_MOST_READS,
        timeout=_TIMEOUT,
        clock=clock,
    )
    findings = list[Finding]()
    sample = await find_sample(exchange)
    for names, ask in _OF_RECORDS:
        if isinstance(sample, Sample):
            findings += await _answered(names, ask(exchange, sample))
        else:
            findings += [not_known(name, sample) for name in names]
    for names, ask_about in _OF_SERVER:
        findings += await _answered(names, ask_about(exchange))
    if minutes:
        exchange.limit = exchange.sent + most_requests(minutes) - _MOST_READS
        findings += await watch(exchange, minutes)
    else:
        findings += [not_known(name, "records are watched only with --minutes") for name in WATCHED]
    return Report.of([*findings, *forms_of(exchange)], NAMES, exchange.sent)


async def _answered(names: Iterable[str], findings: Awaitable[Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a question; without a request left, nothing is known."""
    try:
        return list(await findings)
    except LimitReachedError:
        return [not_known(name, "the maximum number of requests was sent before") for name in names]
