"""`itnio-voice recordings`: the recordings of a range's records into a folder, with a manifest."""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import anyio
import attrs

from ..._client.merging import merge
from ..._client.session import VoiceSession
from ..._files.manifest import Entry, Manifest
from ..._model.errors import ItnioError, RecordNotFoundError
from ..._model.records import CallRecord, SipRecord, VoiceRecord
from ..messages import AccountsError, message_of
from ..options import ReadingOptions
from ..progress import Bar, counted, print_skipped, print_unread
from ..terminal import print_error

__all__ = ["run"]

Source = Literal["group", "sip"]

_SHOWN = 10
"""The maximum number of failures that are printed, one line each."""
_FIELDS: dict[type[CallRecord], tuple[Source, str]] = {
    VoiceRecord: ("group", "voice_file_id"),
    SipRecord: ("sip", "recording_file_id"),
}
"""The source and the field of a recording's id, for each kind of record."""


@attrs.define
class Tally:
    """What has become of the recordings."""

    fetched: int = 0
    size: int = 0
    kept: int = 0
    missing: int = 0
    failed: int = 0

    def progress(self) -> str:
        """Return the figures for the progress bar."""
        return f"{counted(self.fetched, 'file')} {_megabytes(self.size)}"

    def summary(self, seconds: float) -> str:
        """Return the figures for the last line."""
        fetched = f"{counted(self.fetched, 'recording')} fetched ({_megabytes(self.size)}) in {seconds:.1f} s"
        others = {"complete before": self.kept, "missing at the vendor": self.missing, "failed": self.failed}
        return ", ".join([fetched, *(f"{number:,} {what}" for what, number in others.items() if number)])


@attrs.define
class Job:
    """The downloads of one run."""

    manifest: Manifest
    sessions: dict[str, VoiceSession]
    bar: Bar
    tally: Tally
    source: Source
    field: str
    limiter: anyio.Semaphore
    error: OSError | None = None
    _seen: set[tuple[str, str, str]] = attrs.field(factory=set[tuple[str, str, str]])

    async def start(self, group: Any, account: str, records: Iterable[CallRecord]) -> None:
        """Start a download for each recording that is not complete, as far as the limit allows."""
        for record in records:
            file_id = getattr(record, self.field)
            key = (account, self.source, file_id)
            if not file_id or key in self._seen:
                continue
            self._seen.add(key)
            if self.manifest.is_complete(key):
                self.tally.kept += 1
                continue
            await self.limiter.acquire()
            group.start_soon(self._download, group, key, record.voice_id)

    async def _download(self, group: Any, key: tuple[str, str, str], voice_id: str | None) -> None:
        account, source, file_id = key
        entry = Entry(voice_id=voice_id, recording_file_id=file_id, account=account, kind=source, status="missing")
        path = self.manifest.path(key)
        try:
            file = await self.sessions[account].download_recording(file_id, path, source=self.source)
            self.manifest.add(
                attrs.evolve(entry, status="complete", file=path.name, size=file.size, sha256=file.sha256)
            )
            self.tally.fetched += 1
            self.tally.size += file.size
        except RecordNotFoundError:
            self.manifest.add(entry)
            self.tally.missing += 1
        except (ItnioError, ValueError) as error:  # a ValueError is an id that cannot be one
            self.tally.failed += 1
            if self.tally.failed <= _SHOWN:
                print_error(f"{account}: recording {file_id!r:.80}: {message_of(error)}")
        except OSError as error:
            # Of the disk, so that the other files could not be written either.
            self.error = error
            group.cancel_scope.cancel()
        finally:
            self.limiter.release()
            self.bar.show()


async def run(start: str, end: str, folder: Path, reading: ReadingOptions) -> bool:
    """Download the recordings of a range, and return whether all are complete."""
    accounts = reading.found()
    typed = reading.range(start, end)
    began, tally = time.monotonic(), Tally()
    with Manifest(folder) as manifest:
        async with reading.opened(typed.start, typed.end, accounts=accounts) as opened:
            sessions = {name: session for name, (session, _) in opened.items()}
            streams = {name: stream for name, (_, stream) in opened.items()}
            bar = Bar(streams.values(), accounts=accounts, quiet=reading.quiet, more=tally.progress)
            limiter = anyio.Semaphore(reading.concurrency * len(sessions))
            job = Job(manifest, sessions, bar, tally, *_FIELDS[reading.of], limiter)
            pages = {name: stream.pages() for name, stream in streams.items()}
            with bar:
                async with (
                    anyio.create_task_group() as group,
                    merge(pages, buffer=1, on_error=reading.on_error) as merged,
                ):
                    with suppress(ItnioError, ExceptionGroup):  # they are in `merged.failures`
                        async for name, page in merged:
                            bar.show()
                            await job.start(group, name, page.records)
                    if merged.failures and reading.on_error == "raise":
                        group.cancel_scope.cancel()
            if job.error:
                raise job.error
            if not reading.quiet:
                print_error(f"{tally.summary(time.monotonic() - began)}: {folder}")
            print_skipped(streams)
            if merged.failures:
                raise AccountsError(merged.failures.values())
            print_unread(streams.values(), typed.start, typed.until, continues=True)
    return not (tally.missing or tally.failed)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
