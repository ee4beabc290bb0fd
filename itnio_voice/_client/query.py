"""Queries: what a session requests, apart from the range."""

import logging
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Generic, Literal

import attrs

from .._http.credentials import is_utf8
from .._http.request import APIRequest
from .._http.transport import Redact, Transport
from .._model.errors import TimeRangeError
from .._model.records import R
from .._model.windows import FOREVER, Window, gaps, whole_seconds
from .._walk.chunks import WalkPlan
from .._walk.learned import Learned
from .._walk.present import Present
from .._walk.walk import Walk
from .._wire.endpoints import endpoint_of
from .._wire.pages import LARGEST_PAGE, Page, PageRequest
from .._wire.responses import read_page
from .checkpoint import Checkpoint, fingerprint, same_query
from .newest_first import BackwardWalk
from .stream import RecordStream

__all__ = ["Query", "check_expired", "check_id", "check_recording", "check_size"]

_LONGEST_ID = 1000
_ADVICE = 'the range starts before the oldest available record: start later, or pass expired="skip"'


@attrs.frozen(eq=False, repr=False)
class Query(Generic[R]):
    """The records of a class that pass the filters `params`, requested from an account."""

    of: type[R]
    params: Mapping[str, str]
    transport: Transport
    learned: Learned

    @property
    def key(self) -> Hashable:
        """What distinguishes it from the other queries of a session."""
        return self.of, tuple(sorted(self.params.items()))

    def fingerprint(self, *arguments: object) -> str:
        """Return a digest that distinguishes it from other queries, also those of other accounts."""
        return fingerprint(self.transport.credentials.api_key, self.of.__name__, self.params, *arguments)

    async def fetch(
        self,
        window: Window,
        current: int,
        size: int = LARGEST_PAGE,
        *,
        caller: Hashable = None,
        advice: str = TimeRangeError.advice,
    ) -> Page[R]:
        """Request a page. For a caller with turns of its own, records are built when they are used."""
        request = PageRequest(window, current, size, self.params)
        api_request = APIRequest("POST", endpoint_of(self.of).query, request.body(), window=window, page=current)

        def read(body: bytes, redact: Redact) -> Page[R]:
            return read_page(body, request, self.of, advice, redact if caller else None)

        return await self.transport.send(api_request, read, caller)

    def fetcher(self, advice: str = _ADVICE) -> Callable[..., Coroutine[Any, Any, Page[R]]]:
        """Return `fetch` for a new caller with turns of its own."""
        return partial(self.fetch, caller=object(), advice=advice)

    def plan(self, gaps: Sequence[Window], advice: str = _ADVICE, **options: Any) -> WalkPlan[R]:
        """Return the plan of a walk over gaps, which has turns of its own; `options` are those of the plan."""
        transport = self.transport
        return WalkPlan(
            fetch=self.fetcher(advice),
            gaps=gaps,
            now=transport.now,
            concurrency=transport.concurrency,
            clock_known=lambda: transport.clock_known,
            learned=self.learned,
            query=self.key,
            observers=transport.observers,
            **options,
        )

    def stream(
        self,
        start: datetime,
        end: datetime | None,
        *,
        page_size: int = LARGEST_PAGE,
        limit: int | None = None,
        resume: Checkpoint | None = None,
        expired: Literal["raise", "skip"] = "raise",
        newest_first: bool = False,
        skipped_level: int = logging.WARNING,
        advice: str = _ADVICE,
    ) -> RecordStream[R]:
        """Return what `VoiceSession.records` returns; `advice` is for a range that starts before the retention.

        Raises:
            ValueError: if an argument is out of range, or the checkpoint is of another query.
        """
        check_size(page_size)
        if limit is not None and (type(limit) is not int or limit < 0):
            message = f"limit must be a whole number from 0, or None, not {limit!r}"
            raise ValueError(message)
        check_expired(expired)
        window = whole_seconds(start, FOREVER if end is None else end)
        direction = ("newest_first",) if newest_first else ()
        checkpoint = Checkpoint(self.fingerprint(start, end, *direction))
        if resume is not None:
            checkpoint = same_query(resume, checkpoint)

        def walk(complete_windows: bool) -> Walk[R] | BackwardWalk[R]:  # noqa: FBT001 -- its only argument
            plan = self.plan(
                gaps(window, checkpoint.done) if window else (),
                advice,
                page_size=page_size,
                limit=float("inf") if limit is None else limit,
                skip_expired=expired == "skip",
                skipped_level=skipped_level,
                until_now=end is None,
                complete_windows=complete_windows,
            )
            return BackwardWalk(plan, window.end if window else None) if newest_first else Walk(plan)

        return RecordStream(self.of, window, walk, checkpoint, self.transport.observers, limited=limit is not None)

    def present(self, *, until_now: bool) -> Present:
        """Return the server's present."""
        return Present(self.transport.now, lambda: self.transport.clock_known, until_now, self.learned)


def check_id(name: str, value: str) -> None:
    """Refuse what is not the id of a record or a recording; `name` is the caller's name for it.

    Raises:
        ValueError: if it is refused.
    """
    if not isinstance(value, str) or value.strip(". ") == "" or len(value) > _LONGEST_ID or not is_utf8(value):
        message = f"{name} must be an id from a record, of at most {_LONGEST_ID} characters, not {value!r:.80}"
        raise ValueError(message)


def check_recording(file_id: str, source: str) -> None:
    """Refuse what is not the id of a recording, and a source that is unknown.

    Raises:
        ValueError: if one of them is refused.
    """
    check_id("recording_file_id", file_id)
    if source not in {"group", "sip"}:
        message = f'source must be "group" or "sip", not {source!r}'
        raise ValueError(message)


def check_size(page_size: int) -> None:
    """Refuse a page size that is out of range.

    Raises:
        ValueError: if it is refused.
    """
    if type(page_size) is not int or not 1 <= page_size <= LARGEST_PAGE:
        message = f"page_size must be a whole number from 1 to {LARGEST_PAGE}, not {page_size!r}"
        raise ValueError(message)


def check_expired(expired: str) -> None:
    """Refuse an unknown way to read what is older than the server's retention.

    Raises:
        ValueError: if it is refused.
    """
    if expired not in {"raise", "skip"}:
        message = f'expired must be "raise" or "skip", not {expired!r}'
        raise ValueError(message)
