"""`itnio-voice follow`: records as they become visible: rows on a terminal, else a JSON object per line."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

from ..._client.following.follower import LONGEST_LOOKBACK, RecordFollower
from ..._client.owned_tasks import results_of
from ..._client.session import VoiceSession
from ..._model.errors import ItnioError
from ..._model.windows import SECOND
from ..follow_state import FollowState
from ..messages import UsageError, message_of
from ..options import KindOptions, duration, has_user_names, usage, zone_of
from ..progress import Bar
from ..tables import continued, default_columns
from ..terminal import OUTPUT, begin_line, print_error, print_output, sync_output
from .records import Lines, Row

__all__ = ["How", "run"]

SAVE_SECONDS = 1.0
"""How often it is checked whether a follower has read on without finding a record."""


@attrs.frozen
class How:
    """What is followed, and where its state is: the options of the command."""

    start: str | None
    every: str
    lookback: str
    state: Path | None
    changes: bool
    json: bool


class Rows:
    """Rows on a terminal, as the records arrive, below one heading."""

    def __init__(self, reading: KindOptions, *, named: bool) -> None:
        self._columns = default_columns(zone_of(reading.timezone), account=named)
        print_output(continued((), self._columns, headed=True))

    def take(self, rows: Sequence[Row]) -> None:
        """Print records."""
        print_output(continued(rows, self._columns, headed=False))


async def run(how: How, reading: KindOptions) -> None:
    """Print records until the command is interrupted, or an account fails."""
    accounts = reading.found()
    with usage():
        zone_of(reading.timezone)
        every, lookback = (_positive(*each) for each in (("--every", how.every), ("--lookback", how.lookback)))
    start = reading.moment("--start", how.start, datetime.now(UTC)) if how.start is not None else None
    named = has_user_names(accounts)

    def follow(session: VoiceSession, **options: Any) -> RecordFollower[Any]:
        return session.follow(
            start, of=reading.of, every=every / SECOND, lookback=lookback, changes=how.changes, **options
        )

    async with reading.sessions(accounts) as sessions:
        with usage():
            new = {name: follow(session) for name, session in sessions.items()}
        with FollowState(how.state) as state:
            resumes = {name: state.resume(name, each.checkpoint.query) for name, each in new.items()}
            _check_names(how, state, resumes, quiet=reading.quiet)
            followers = {name: follow(sessions[name], resume=resume) for name, resume in resumes.items()}
            if OUTPUT.is_terminal and not how.json:
                take = Rows(reading, named=named).take
            else:
                begin_line()
                take = Lines(None, None, named=named).take
            with Bar(accounts=accounts, quiet=reading.quiet, drawn=False):
                await copy(followers, take, state, ends=reading.on_error == "raise")


async def copy(
    followers: Mapping[str, RecordFollower[Any]],
    take: Callable[[Sequence[Row]], None],
    state: FollowState,
    *,
    ends: bool,
) -> None:
    """Pass the records of all followers to `take`, and store each checkpoint after its records were written.

    A failure of one follower is raised if `ends`, else printed while the others go on; that of the last one is raised.
    A batch is written without an await: whenever another task runs, followers have returned only what was written.
    """
    left = set(followers)

    async def copy_one(name: str | None) -> None:
        if name is None:
            await store_positions()
            return
        try:
            async for batch in followers[name].batches():
                take([(name, record) for record in batch.records])
                if state.is_stored:
                    sync_output()
                    state.store({name: batch.checkpoint})
        except ItnioError as failure:
            failure.add_note(f"while reading {name!r}")
            left.remove(name)
            if ends or not left:
                raise
            print_error(message_of(failure))

    async def store_positions() -> None:
        """Store how far accounts without records were read: a first run begins there again if it is killed."""
        stored = {name: each.checkpoint.position for name, each in followers.items()}
        while True:
            await anyio.sleep(SAVE_SECONDS)
            positions = {name: each.checkpoint.position for name, each in followers.items()}
            if positions != stored:
                state.store({name: each.checkpoint for name, each in followers.items()})
                stored = positions

    names = [*followers, *([None] if state.is_stored else [])]
    try:
        await results_of(copy_one, names, len(names))
    finally:
        state.store({name: each.checkpoint for name, each in followers.items()})


def _positive(option: str, text: str) -> timedelta:
    """Read a duration above zero.

    Raises:
        ValueError: if it is zero or too long.
    """
    length = duration(text, option=option)
    if not timedelta() < length <= LONGEST_LOOKBACK:
        message = f"{option} must be above 0s and at most {LONGEST_LOOKBACK.days}d, not {text}"
        raise ValueError(message)
    return length


def _check_names(how: How, state: FollowState, resumes: Mapping[str, Any], *, quiet: bool) -> None:
    """Print which accounts are new in a state.

    Raises:
        UsageError: if all are, but the state has others.
    """
    new = [name for name, resume in resumes.items() if resume is None]
    if state.checkpoints and len(new) == len(resumes):
        message = f"--state: {how.state} is of other accounts ({', '.join(state.checkpoints)}): choose another file"
        raise UsageError(message)
    if state.checkpoints and not quiet:
        for name in new:
            print_error(f"{name}: not in {how.state}, so it is followed from {how.start or 'now'} on")
