"""The arguments of a run over accounts, checked, and its result. Pure, but for `on_progress`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

from ..._client.accounts import Account
from ..._client.checkpoint import fingerprint
from ..._client.session import SessionOptions
from ..._client.stream import RecordStream
from ..._model.windows import Window, floor
from .coverage import Coverage

__all__ = ["Streams", "SyncJob", "SyncResult", "sync_job"]

Streams = Mapping[str, RecordStream[Any]]


@attrs.define
class SyncResult:
    """The result of a run: rows merged into each table, accounts that failed, and streams by table and account.

    `dataset` is the schema that holds the tables, as the destination spells it.
    """

    rows: dict[str, int] = attrs.field(factory=dict)
    failed: dict[str, dict[str, Exception]] = attrs.field(factory=dict)
    streams: dict[str, Streams] = attrs.field(factory=dict)
    dataset: str = ""

    @property
    def failures(self) -> list[Exception]:
        """The first error of each account that failed; `failed` has the errors by account and table."""
        return [next(iter(errors.values())) for errors in self.failed.values()]


@attrs.frozen(kw_only=True)
class SyncJob:
    """The arguments of a run; `on_progress` is called after each batch of rows.

    `money` is the Arrow type of amounts that the user chose, or None.
    """

    accounts: Mapping[str, Account]
    since: datetime
    until: datetime | None
    lookback: timedelta
    expired: Literal["raise", "skip"] = "raise"
    on_progress: Callable[[SyncResult], None] = lambda _: None
    result: SyncResult | None = None
    money: Any = None

    def start(self, name: str, state: Mapping[str, str] | None) -> datetime:
        """Return where to start reading an account, given the state that the last run stored."""
        covered = Coverage.from_state(state, self._key(name))
        return covered.next_start(self.since, self.until, self.lookback) if covered else self.since

    def state_after(self, name: str, state: Mapping[str, str] | None, windows: Sequence[Window]) -> dict[str, str]:
        """Return the state to store after the windows of an account's checkpoint were read."""
        key = self._key(name)
        return Coverage.extended(Coverage.from_state(state, key), self.since, key, windows).to_state()

    def _key(self, name: str) -> str:
        return fingerprint(self.accounts[name].credentials.api_key)


def sync_job(
    accounts: Mapping[str, Account],
    since: datetime,
    until: datetime | None,
    lookback: timedelta,
    *,
    expired: Literal["raise", "skip"],
    options: SessionOptions,
) -> SyncJob:
    """Return a job after a check of its arguments; no request is sent.

    Raises:
        ValueError: as `VoiceSession.records` does, for no account, and for a negative `lookback`.
    """
    if not accounts:
        message = "no account to read: accounts must not be empty"
        raise ValueError(message)
    if lookback < timedelta():
        message = f"lookback must not be negative, not {lookback}"
        raise ValueError(message)
    for account in accounts.values():
        account.session(**options).records(since, until, expired=expired)  # checks its arguments, sends nothing
    since, until = floor(since), until and floor(until)
    return SyncJob(accounts=accounts, since=since, until=until, lookback=lookback, expired=expired)
