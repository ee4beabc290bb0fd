"""Queries: what a session requests, apart from the range."""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Generic

import attrs

from .._http.credentials import is_utf8
from .._http.request import APIRequest
from .._http.transport import Redact, Transport
from .._model.errors import TimeRangeError
from .._model.records import R
from .._model.windows import Window
from .._walk.chunks import WalkPlan
from .._walk.learned import Learned
from .._walk.present import Present
from .._wire.endpoints import endpoint_of
from .._wire.pages import LARGEST_PAGE, Page, PageRequest
from .._wire.responses import read_page
from .checkpoint import fingerprint

__all__ = ["Query", "check_id", "check_recording"]

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

    def plan(self, gaps: Sequence[Window], **options: Any) -> WalkPlan[R]:
        """Return the plan of a walk over gaps, which has turns of its own; `options` are those of the plan."""
        transport = self.transport
        return WalkPlan(
            fetch=self.fetcher(),
            gaps=gaps,
            now=transport.now,
            concurrency=transport.concurrency,
            clock_known=lambda: transport.clock_known,
            learned=self.learned,
            query=self.key,
            observers=transport.observers,
            **options,
        )

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
