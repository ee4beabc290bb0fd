"""Is all in place? One request for each question, and a verdict that can be read."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..accounts import Account
from ..errors import AuthenticationError, IPRestrictedError, ItnioError, TimeRangeError, UserLockedError
from ..pool import make_client
from ..retry import Retry, http_date
from .options import AccountOptions, usage

__all__ = ["run"]

KEPT = timedelta(days=59)
"""The vendor's page: records of the last two months can be asked for, of which the shortest two have 59 days."""
MOMENT = timedelta(seconds=2)
FAR_OFF = 60.0
"""Seconds that a clock may be off before it is worth a word: a session corrects it, at the cost of a request."""


@attrs.frozen
class Verdict:
    """What came of a question: whether all is well, and how to tell it."""

    well: bool
    text: str


@attrs.frozen
class Answer:
    """How a request ended: its error, if any, and how far ahead the server's clock is, in seconds, if it told."""

    error: ItnioError | None
    ahead: float | None


async def run(accounts: AccountOptions) -> bool:
    """Print the verdicts for each account, and return whether all is well."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("account", "question", "", "verdict"):
        table.add_column(name)
    well = True
    for account in accounts.found().values():
        for index, (question, verdict) in enumerate((await _ask(account)).items()):
            name = "" if index else account.name
            table.add_row(Text(name), question, "✓" if verdict.well else "✗", Text(verdict.text))
            well &= verdict.well
    Console().print(table)
    return well


async def _ask(account: Account) -> dict[str, Verdict]:
    """Ask each question of an account."""
    heard: list[tuple[str | None, float]] = []

    async def hear(response: Any) -> None:
        heard.append((response.headers.get("date"), time.time()))

    verdicts = {}
    with usage():
        client = make_client(1, account.base_url)
    async with client:
        client.event_hooks = {"response": [hear]}
        with usage():
            session = account.session(http_client=client, retry=Retry(attempts=1))
        for question, (age, judge) in QUESTIONS.items():
            end = datetime.now(UTC) - age
            heard.clear()
            error = None
            try:
                await session.page(end - MOMENT, end, page_size=1)
            except ItnioError as failure:
                error = failure
            date, at = heard[-1] if heard else (None, 0.0)
            server = http_date(date)
            verdicts[question] = judge(Answer(error, None if server is None else server - at))
    return verdicts


def _clock(answer: Answer) -> Verdict:
    if answer.ahead is None:
        return Verdict(well=False, text=_trouble(answer.error) if answer.error else "the answer has no Date header")
    way = "behind" if answer.ahead > 0 else "ahead"
    off = abs(answer.ahead)
    return Verdict(
        well=off < FAR_OFF, text=f"this machine is {off:.0f} s {way}" if off > 1 else "the server's, to a second"
    )


def _address(answer: Answer) -> Verdict:
    match answer.error:
        case IPRestrictedError() as error:
            return Verdict(well=False, text=str(error))
        case None | AuthenticationError() | UserLockedError() | TimeRangeError():
            return Verdict(well=True, text="allowed")
        case error:
            return Verdict(well=False, text=_trouble(error))


def _credentials(answer: Answer) -> Verdict:
    match answer.error:
        case None | TimeRangeError():
            return Verdict(well=True, text="accepted")
        case AuthenticationError() | UserLockedError() as error:
            return Verdict(well=False, text=str(error))
        case error:
            return Verdict(well=False, text=_trouble(error))


def _retention(answer: Answer) -> Verdict:
    match answer.error:
        case None:
            return Verdict(well=True, text=f"records of {KEPT.days} days ago are served")
        case TimeRangeError():
            return Verdict(
                well=False, text=f"records of {KEPT.days} days ago are refused: start later, or --expired skip"
            )
        case error:
            return Verdict(well=False, text=_trouble(error))


def _trouble(error: ItnioError) -> str:
    return f"not known: {type(error).__name__}: {error}"


# The clock comes first: what is learned of it signs the others.
QUESTIONS: dict[str, tuple[timedelta, Callable[[Answer], Verdict]]] = {
    "clock": (timedelta(minutes=5), _clock),
    "address": (timedelta(minutes=5), _address),
    "credentials": (timedelta(minutes=5), _credentials),
    "retention": (KEPT, _retention),
}
