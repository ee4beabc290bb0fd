"""Sessions: the calls of one account's API."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

from .._http.clients import HTTPClient
from .._http.credentials import Credentials
from .._http.request import APIRequest
from .._http.retry import Retry
from .._http.transport import Transport
from .._model.observing import Attempt, OnAttempt
from .._model.records import R, RecordingFile, RecordingURL, VoiceRecord
from .._model.windows import FOREVER, Window, whole_seconds
from .._walk.learned import Learned
from .._wire.endpoints import RECORDING_URL, endpoint_of
from .._wire.pages import LARGEST_PAGE, Page
from .._wire.responses import read_record, read_recording_url
from .checkpoint import Checkpoint
from .counting import CountPlan, RecordCount
from .environment import credentials_from_env
from .following.checkpoint import FollowCheckpoint, same_follower
from .following.follower import RecordFollower, first_second, follow_options
from .following.lookback import Lookback
from .query import Query, check_expired, check_id, check_recording, check_size
from .stream import RecordStream

if TYPE_CHECKING:
    from .recordings import Recordings

__all__ = ["DEFAULT_BASE_URL", "SessionOptions", "VoiceSession"]

DEFAULT_BASE_URL = "https://api.itniotech.com/voice"
_YEAR = timedelta(days=366)
_ADVICE = "`start` is before the oldest available record: choose a later one, or none"


class SessionOptions(TypedDict, total=False):
    """The keyword options of `VoiceSession`, also accepted by the functions that create one."""

    base_url: str
    http_client: HTTPClient | None
    concurrency: int
    rate: float | None
    timeout: float
    retry: Retry
    on_attempt: Callable[[Attempt], object] | None


class VoiceSession:
    """A client for the call records of one account.

    Use it as `async with VoiceSession(…) as session`, or call `await session.aclose()` at the end. Any number of tasks
    may use a session at once. It holds no task, lock or cancel scope between calls, so it may be opened in one task and
    closed in another.

    - `base_url`: the URL of the brand's API; it must be https, except on this machine.
    - `http_client`: your own `httpx.AsyncClient` or `httpx2.AsyncClient`; the session never closes it.
    - `concurrency`: the maximum number of requests in flight, for all streams together. Slots are granted round-robin
      between streams.
    - `rate`: the maximum number of requests sent per second; None for no maximum.
    - `timeout`: the maximum duration of one attempt, in seconds.
    - `retry`: how often and how long a request is tried.
    - `on_attempt`: a function that is called with each `Attempt` when it has ended. It runs in the event loop, so it
      must not block. If it raises an exception, a warning is logged once, and reading continues.

    Raises:
        ValueError: if an option is out of range, or the base URL would send the signature unencrypted.
        TypeError: if the credentials, the retry policy, the HTTP client or `on_attempt` have another type.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str = DEFAULT_BASE_URL,
        http_client: HTTPClient | None = None,
        concurrency: int = 4,
        rate: float | None = None,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 -- frozen
        on_attempt: Callable[[Attempt], object] | None = None,
    ) -> None:
        self._transport = Transport(
            credentials=credentials,
            base_url=base_url,
            client=http_client,
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            retry=retry,
        )
        if on_attempt is not None:
            self._transport.observers.add(OnAttempt(on_attempt))
        self._learned = Learned()

    @classmethod
    def from_env(cls, **options: Unpack[SessionOptions]) -> Self:
        """Create a session from `ITNIO_API_KEY`, `ITNIO_API_SECRET` and, if it is set, `ITNIO_BASE_URL`.

        Raises:
            ValueError: if one of the first two is not set, and in the cases of `VoiceSession`.
        """
        credentials, base_url = credentials_from_env()
        if base_url:
            options.setdefault("base_url", base_url)
        return cls(credentials, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session and its own HTTP client; a second call does nothing.

        Calls in progress in other tasks, and later requests of streams, raise a RuntimeError.
        """
        await self._transport.aclose()

    def records(
        self,
        start: datetime,
        end: datetime | None = None,
        *,
        of: type[R] = VoiceRecord,  # type: ignore[assignment]  # the default of R if `of` is not passed
        where: Mapping[str, str] | None = None,
        page_size: int = LARGEST_PAGE,
        limit: int | None = None,
        resume: Checkpoint | None = None,
        expired: Literal["raise", "skip"] = "raise",
        newest_first: bool = False,
    ) -> RecordStream[R]:
        """Return the records from `start` to `end` as a stream; requests are sent only when it is read.

        Both are aware datetimes, rounded down to whole seconds, so a range within one second is empty. Adjacent calls
        tile: `records(a, b)` and `records(b, c)` together return each record once. If `end` is None or in the future,
        reading ends with the last second that is over on the server's clock. The rest stays unread, and is not in
        `stream.checkpoint`.

        `of` is the record class, `where` the endpoint's filters by Python name, `page_size` the records per page (1 to
        100), and `limit` the maximum number of records in total. `resume` continues from a stream's checkpoint. If the
        range starts before the server's retention, a `TimeRangeError` is raised; with `expired="skip"`, that part is
        skipped and listed in `stream.skipped`.

        With `newest_first`, the range is read backwards in windows of its own: a short one first, then longer ones. The
        records of a window are sorted by submit time, newest first, and are returned when it is complete.

        Raises:
            ValueError: if an argument is out of range, a filter is unknown, or the checkpoint is of another query.
        """
        return self._query(of, where).stream(
            start,
            end,
            page_size=page_size,
            limit=limit,
            resume=resume,
            expired=expired,
            newest_first=newest_first,
        )

    async def latest(
        self,
        limit: int = 50,
        *,
        start: datetime | None = None,
        of: type[R] = VoiceRecord,  # type: ignore[assignment]  # as above
        where: Mapping[str, str] | None = None,
    ) -> list[R]:
        """Return the newest records, at most `limit` of them, newest first.

        They are those of `records(start, newest_first=True)`. Without `start`, it goes back a year, or as far as the
        server keeps records.

        Raises:
            ValueError: if `limit` is not a whole number from 1, or an argument of `records` is wrong.
            ItnioError: as for a stream.
        """
        if type(limit) is not int or limit < 1:
            message = f"limit must be a whole number from 1, not {limit!r}"
            raise ValueError(message)
        query = self._query(of, where)
        if start is not None:
            return await query.stream(start, None, limit=limit, newest_first=True, advice=_ADVICE).collect()
        first = datetime.fromtimestamp(self._transport.now(), UTC) - _YEAR
        # The caller has not chosen this start, so it is no warning that the server does not keep as much.
        stream = query.stream(first, None, limit=limit, newest_first=True, expired="skip", skipped_level=logging.INFO)
        return await stream.collect()

    def follow(
        self,
        start: datetime | None = None,
        *,
        of: type[R] = VoiceRecord,  # type: ignore[assignment]  # as above
        where: Mapping[str, str] | None = None,
        every: float = 30.0,
        lookback: timedelta = timedelta(minutes=10),
        changes: bool = False,
        resume: FollowCheckpoint | None = None,
    ) -> RecordFollower[R]:
        """Return the records from `start` on as they become visible, each once, without an end.

        Without `start`, following begins at the server's present. Every `every` seconds, the time since the last poll
        is read, up to the last second that is over on the server's clock. A record that appears late is found if it
        appears within `lookback` after its time. If the account is busy, it may be returned some polls later: a poll
        takes about twice the requests that its new records take. With `changes`, a record is returned again when its
        content has changed within the lookback; then each poll reads all records of the lookback.

        `resume` continues from a follower's checkpoint, instead of `start`. Its size and the memory depend on the
        records of the lookback (see `FollowCheckpoint`). Transient failures are logged as warnings, and tried again
        after `every` seconds, then after twice as long, and so on, up to five minutes. Other errors are raised; whoever
        reads on tries again, after the same time.

        Raises:
            ValueError: if `start` is in the future or naive, `every` or `lookback` is not positive, `lookback` is
                longer than 30 days, a filter is unknown, or the checkpoint is of another query.
        """
        query = self._query(of, where)
        options = follow_options(every, lookback, changes=changes)
        begin = None if start is None else first_second(start, self._transport.now())
        checkpoint = FollowCheckpoint(query.fingerprint("follow"), Lookback(begin))
        if resume is not None:
            checkpoint = same_follower(resume, checkpoint)
        return RecordFollower(query, options, checkpoint)

    async def count(
        self,
        start: datetime,
        end: datetime | None = None,
        *,
        of: type[R] = VoiceRecord,  # type: ignore[assignment]  # as above
        where: Mapping[str, str] | None = None,
        expired: Literal["raise", "skip"] = "raise",
    ) -> int:
        """Return the number of records that `records()` would return for the same arguments, with few requests.

        The number is computed from the server's totals, with two requests for each 31 days. A third one follows if they
        start less than a day or more than 50 days ago, and one shows whether the server caps its totals. A window is
        read instead, or counted in parts, if its total is missing, may be a cap, or contradicts the rows of an answer.
        Other wrong totals are not detected, nor are records that the server counts twice: only `records()` verifies
        each record.

        If records appear or expire meanwhile, the number for each window is that of one moment. `start` and `end` are
        those of `records()`, and numbers of adjacent ranges add up in the same way. `expired="skip"` does not count
        what is older than the server's retention, and logs a warning.

        Raises:
            ValueError: if an argument is out of range, or a filter is unknown.
            ItnioError: if the API refuses or the network fails; `TimeRangeError` if the range starts before the
                server's retention, unless `expired="skip"`.
        """
        query = self._query(of, where)
        check_expired(expired)
        window = whole_seconds(start, FOREVER if end is None else end)
        if window is None:
            return 0

        def read(part: Window, limit: int | None) -> RecordStream[R]:
            return query.stream(part.start, part.end, limit=limit, expired=expired)

        present = query.present(until_now=end is None)
        plan = CountPlan(query.fetcher(), read, present, self._learned, query.key, self._transport.concurrency)
        return await RecordCount(plan).of(window)

    async def page(
        self,
        start: datetime,
        end: datetime,
        *,
        of: type[R] = VoiceRecord,  # type: ignore[assignment]  # as above
        where: Mapping[str, str] | None = None,
        current: int = 1,
        page_size: int = LARGEST_PAGE,
    ) -> Page[R]:
        """Return page `current` (from 1) of a range, as the vendor's API returns it.

        One request is sent. The range is not split into windows, and completeness is not checked. Both ends are rounded
        down to whole seconds; a range within one second is empty, and nothing is requested.

        Raises:
            ValueError: if an argument is out of range, or a filter is unknown.
            ItnioError: if the API refuses or the network fails; `TimeRangeError` if the range is longer than 31 days or
                reaches too far back.
        """
        query = self._query(of, where)
        check_size(page_size)
        if type(current) is not int or current < 1:
            message = f"current must be a whole number from 1, not {current!r}"
            raise ValueError(message)
        window = whole_seconds(start, end)
        if window is None:
            return Page((), 0, page_size, current, 0)
        return await query.fetch(window, current, page_size)

    async def record(self, voice_id: str, *, of: type[R] = VoiceRecord) -> R:  # type: ignore[assignment]  # as above
        """Return the record with an id.

        Raises:
            RecordNotFoundError: if there is none.
            ValueError: if the id is empty or cannot be part of a URL's path.
            ItnioError: if the API refuses or the network fails.
        """
        check_id("voice_id", voice_id)
        path = endpoint_of(of).item_path
        api_request = APIRequest("GET", path + quote(voice_id, safe=""), route=path + "{voice_id}")
        return await self._transport.send(api_request, lambda body, _: read_record(body, voice_id, of))

    async def recording_url(self, recording_file_id: str, *, source: Literal["group", "sip"]) -> RecordingURL:
        """Return the URL of a recording, and when it expires; `source` is the kind of record it belongs to.

        Raises:
            RecordNotFoundError: if there is none.
            ValueError: if the id is empty or the source is unknown.
            ItnioError: if the API refuses or the network fails.
        """
        check_recording(recording_file_id, source)
        params = {"recordingFileId": recording_file_id, "sourceType": source}
        api_request = APIRequest("GET", RECORDING_URL, params=params)
        return await self._transport.send(api_request, lambda body, _: read_recording_url(body, recording_file_id))

    async def download_recording(
        self,
        recording_file_id: str,
        path: str | PathLike[str],
        *,
        source: Literal["group", "sip"],
        max_bytes: int = 2**30,
    ) -> RecordingFile:
        """Download a recording into a file, which appears when it is complete, and replaces an existing one.

        `source` is the kind of record that the recording belongs to, and `max_bytes` its maximum size in bytes, by
        default 1 GiB. At most `concurrency` recordings are downloaded at once, beside the requests to the API.

        The recording's host is not the API: it is sent no signature, cookie, or header of your HTTP client. Its URL
        must be https, and so must those of its redirects, of which at most 5 are followed; plain http is accepted from
        this machine, if `base_url` is on it too. A URL that has expired is requested again once. Transient failures are
        retried from the first byte, as `retry` says; only the waits count towards its `total`. The host may be silent
        for `timeout` seconds, and must send 4,096 bytes per second on average after the first `timeout` seconds.

        Raises:
            RecordNotFoundError: if there is none.
            ValueError: if the id is empty, or the source, the path or `max_bytes` is invalid.
            OSError: if the file cannot be written: if its folder is missing or not writable, before any request.
            ProtocolError: if the recording is too large, its URL is not accepted, or its length is not known.
            ItnioError: if the API refuses, or the network or the host fails.
        """
        check_recording(recording_file_id, source)
        if type(max_bytes) is not int or max_bytes < 1:
            message = f"max_bytes must be a whole number from 1, not {max_bytes!r}"
            raise ValueError(message)
        output = Path(path)
        if "\0" in str(output):
            message = f"path must be the name of a file, not {str(output)!r:.80}"
            raise ValueError(message)
        request_url = partial(self.recording_url, recording_file_id, source=source)
        return await self._recordings.download(recording_file_id, output, max_bytes, request_url)

    @cached_property
    def _recordings(self) -> "Recordings":
        from .recordings import Recordings  # noqa: PLC0415 -- imported when it is needed: most programs download nothing

        return Recordings(self._transport)

    def _query(self, of: type[R], where: Mapping[str, str] | None) -> Query[R]:
        return Query(of, endpoint_of(of).params(where), self._transport, self._learned)
