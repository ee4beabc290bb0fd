"""`itnio-voice check`: one request per question about an account, each with a verdict."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..._client.accounts import Account
from ..._client.session import VoiceSession
from ..._http.pool import make_client
from ..._http.retry import Retry, http_date
from ..._model.errors import AuthenticationError, IPRestrictedError, ItnioError, TimeRangeError, UserLockedError
from ..messages import in_cli_words, message_of
from ..options import AccountOptions, usage
from ..terminal import cell, print_output

__all__ = ["run"]

KEPT = timedelta(days=59)
"""The vendor keeps records of the last two months; the shortest two have 59 days."""
MOMENT = timedelta(seconds=2)
FAR_OFF = 60.0
"""The clock error from which it is reported, in seconds: a session corrects it with one more request."""
SAME = "not known, for the same reason"


@attrs.frozen
class Verdict:
    """The result of a check: whether it passed, and a text."""

    well: bool
    text: str


@attrs.frozen
class Answer:
    """How a request ended: its error, if any, and how far ahead the server's clock is, in seconds, if it is known."""

    error: ItnioError | None
    ahead: float | None
    is_response: bool = True


async def run(accounts: AccountOptions) -> bool:
    """Print the verdicts for each account, and return whether all checks passed."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("account", "question", "", "verdict"):
        table.add_column(name)
    well = True
    for account in accounts.found().values():
        texts = set[str]()
        for index, (question, verdict) in enumerate((await _ask(account)).items()):
            text = SAME if not verdict.well and verdict.text in texts else verdict.text
            texts.add(verdict.text)
            table.add_row(cell("" if index else account.name), question, "✓" if verdict.well else "✗", cell(text))
            well &= verdict.well
    print_output(table)
    return well


async def _ask(account: Account) -> dict[str, Verdict]:
    """Send the request of each question; without a response, all other questions have the same answer."""
    responses: list[tuple[str | None, float]] = []

    async def hear(response: Any) -> None:
        responses.append((response.headers.get("date"), time.time()))

    verdicts = {}
    answer: Answer | None = None
    with usage():
        client = make_client(1, account.base_url)
    async with client:
        client.event_hooks = {"response": [hear]}
        with usage():
            session = account.session(http_client=client, retry=Retry(attempts=1))
        for question, (age, judge) in QUESTIONS.items():
            if answer is None or answer.is_response:
                answer = await _send(session, datetime.now(UTC) - age, responses)
            verdicts[question] = judge(answer)
    return verdicts


async def _send(session: VoiceSession, end: datetime, responses: list[tuple[str | None, float]]) -> Answer:
    """Request a page of one record that ends at a time; `responses` gets the Date header of the response."""
    responses.clear()
    error = None
    try:
        await session.page(end - MOMENT, end, page_size=1)
    except ItnioError as failure:
        error = failure
    date, at = responses[-1] if responses else (None, 0.0)
    server = http_date(date)
    return Answer(error, None if server is None else server - at, is_response=bool(responses))


def _clock(answer: Answer) -> Verdict:
    if answer.ahead is None:
        return Verdict(well=False, text=_trouble(answer.error) if answer.error else "the response has no Date header")
    way = "behind" if answer.ahead > 0 else "ahead"
    off = abs(answer.ahead)
    return Verdict(
        well=off < FAR_OFF, text=f"this machine is {off:.0f} s {way}" if off > 1 else "the server's, to a second"
    )


def _address(answer: Answer) -> Verdict:
    match answer.error:
        case IPRestrictedError() as error:
            return Verdict(well=False, text=in_cli_words(str(error)))
        case None | AuthenticationError() | UserLockedError() | TimeRangeError():
            return Verdict(well=True, text="allowed")
        case error:
            return Verdict(well=False, text=_trouble(error))


def _credentials(answer: Answer) -> Verdict:
    match answer.error:
        case None | TimeRangeError():
            return Verdict(well=True, text="accepted")
        case AuthenticationError() | UserLockedError() as error:
            return Verdict(well=False, text=in_cli_words(str(error)))
        case error:
            return Verdict(well=False, text=_trouble(error))


def _retention(answer: Answer) -> Verdict:
    match answer.error:
        case None:
            return Verdict(well=True, text=f"records of {KEPT.days} days ago are available")
        case TimeRangeError():
            return Verdict(
                well=False, text=f"records of {KEPT.days} days ago are refused: start later, or --expired skip"
            )
        case error:
            return Verdict(well=False, text=_trouble(error))


def _trouble(error: ItnioError) -> str:
    return f"not known: {message_of(error)}"


# The clock comes first: the others are signed by the offset that it shows.
QUESTIONS: dict[str, tuple[timedelta, Callable[[Answer], Verdict]]] = {
    "clock": (timedelta(minutes=5), _clock),
    "address": (timedelta(minutes=5), _address),
    "credentials": (timedelta(minutes=5), _credentials),
    "retention": (KEPT, _retention),
}
