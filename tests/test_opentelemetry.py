"""Spans and metrics with OpenTelemetry, through the SDK's exporters in memory.

`python -m tests.test_opentelemetry` writes the trace and the metrics of a walk into the page about observability.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from itnio_voice import Credentials, ItnioError, Retry, SipRecord, VoiceSession
from itnio_voice.opentelemetry import instrument, uninstrument
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import QUICK, session_on

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parent.parent / "docs" / "observability.md"
END = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY, SECRET, PHONE = "bDqJFiq9", "7bz1lzh9", "8613800138000"
EMPTY = {"status": "0", "reason": "success", "data": {"total": 0, "records": []}}
RECORDS = 3_000
"""The number of records of the sandbox whose trace the page shows."""
METHOD, STATUS, ERROR = "http.request.method", "http.response.status_code", "error.type"


@attrs.define
class Telemetry:
    """An application's providers, with exporters in memory."""

    exporter: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracing: TracerProvider = attrs.field(factory=TracerProvider)
    metering: MeterProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.metering = MeterProvider([self.reader])

    def instrument(self, session: VoiceSession | None = None) -> None:
        """Instrument a session, or all that follow."""
        instrument(session, tracer_provider=self.tracing, meter_provider=self.metering)

    def caller(self) -> Any:
        """Return a span of the application, to be entered."""
        return self.tracing.get_tracer("app").start_as_current_span("read calls")

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans whose name contains a text."""
        return [span for span in self.exporter.get_finished_spans() if name in span.name]

    def metrics(self) -> dict[str, list[Any]]:
        """Return the points of each metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for each in (data.resource_metrics if data else []) for scope in each.scope_metrics]
        assert {("itnio_voice", True)} >= {(each.scope.name, bool(each.scope.version)) for each in scopes}
        return {metric.name: list(metric.data.data_points) for each in scopes for metric in each.metrics}

    def total(self, metric: str, **attributes: Any) -> float:
        """Return the sum of a counter's points, or of the number of a histogram's values, with these attributes."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}.items()
        points = [point for point in self.metrics().get(metric, []) if wanted <= dict(point.attributes).items()]
        values: list[float] = [point.count if hasattr(point, "count") else point.value for point in points]
        return sum(values)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Return providers with exporters in memory."""
    telemetry = Telemetry()
    yield telemetry
    uninstrument()
    telemetry.tracing.shutdown()
    telemetry.metering.shutdown()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def session_with(answer: Any, **options: Any) -> VoiceSession:
    """Return a session whose server is a function."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    defaults: dict[str, Any] = {"base_url": "https://api.example.com/voice", "retry": QUICK}
    return VoiceSession(Credentials(KEY, SECRET), http_client=client, **defaults | options)


async def test_a_walk_has_a_span_for_each_request_and_each_window(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """With the session's own client: client spans with the HTTP conventions, and spans of windows."""
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        with telemetry.caller() as caller:
            records = await session.records(END - 60 * DAY, END).collect()

    requests, windows = telemetry.spans("POST "), telemetry.spans("window")
    assert len(itnio_sandbox.requests) == len(requests)
    assert len(telemetry.spans()) == len(requests) + len(windows) + 1
    assert {caller.get_span_context().span_id} == {each.parent and each.parent.span_id for each in requests + windows}
    assert {(SpanKind.CLIENT, StatusCode.UNSET, "POST /voice/recordGroupQuery")} == {
        (each.kind, each.status.status_code, each.name) for each in requests
    }
    port = int(itnio_sandbox.base_url.split(":")[2].split("/")[0])
    conventions = {
        METHOD: "POST",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{itnio_sandbox.base_url}/recordGroupQuery",
        "url.template": "/voice/recordGroupQuery",
        STATUS: 200,
        "itnio.api_key": itnio_sandbox.api_key,
    }
    assert all(conventions.items() <= attributes_of(each).items() for each in requests)
    rest = {name for each in requests for name in attributes_of(each)} - conventions.keys()
    assert {"itnio.page", "itnio.window_start", "itnio.window_end"} == rest

    read = [attributes_of(each) for each in windows]
    assert len(records) == sum(each["itnio.records"] for each in read)
    assert {"complete"} == {each["itnio.outcome"] for each in read}
    assert all(each["itnio.pages"] >= each["itnio.passes"] == 1 for each in read)
    for span in windows:
        within = [each for each in requests if bounds(each) == bounds(span)]
        assert len(within) == attributes_of(span)["itnio.pages"]
        # A start is known to within a microsecond; and the two clocks of a machine may drift.
        assert (span.start_time or 0) - 10**6 < min(each.start_time or 0 for each in within)
        assert (span.end_time or 0) + 10**6 > max(each.end_time or 0 for each in within)


def bounds(span: ReadableSpan) -> tuple[Any, Any]:
    """Return the window of a span."""
    attributes = attributes_of(span)
    return attributes["itnio.window_start"], attributes["itnio.window_end"]


async def test_a_walk_has_metrics(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """Durations, retries, records, windows and the clock's offset are measured, each with its unit."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),), clock_skew=90.0)
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        records = await session.records(END - 60 * DAY, END).collect()

    # Older SDKs export a gauge once for each value.
    (offset,) = telemetry.metrics()["itnio.clock_offset"]
    assert offset.value == pytest.approx(90, abs=3)
    windows = len(telemetry.spans("window"))
    assert len(records) == telemetry.total("itnio.records")
    assert windows == telemetry.total("itnio.windows", itnio__outcome="complete")
    assert 2 == telemetry.total("itnio.retries", error__type="503")
    duration = "http.client.request.duration"
    assert len(itnio_sandbox.requests) == telemetry.total(duration, http__request__method="POST")
    assert 2 == telemetry.total(duration, http__response__status_code=503, error__type="503")
    (bucketed, *_) = telemetry.metrics()[duration]
    assert (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10) == bucketed.explicit_bounds
    assert {METHOD, "server.address", "server.port", STATUS, ERROR} >= bucketed.attributes.keys()


async def test_a_retried_attempt_is_an_error_span(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """The failed attempts are error spans with the HTTP status; each further attempt has its resend count."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),))
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        await session.page(END - DAY, END)

    spans = telemetry.spans()
    assert [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET] == [each.status.status_code for each in spans]
    assert [(503, "503"), (503, "503"), (200, None)] == [
        (attributes_of(each)[STATUS], attributes_of(each).get(ERROR)) for each in spans
    ]
    assert [None, 1, 2] == [attributes_of(each).get("http.request.resend_count") for each in spans]
    assert [True, True, False] == ["itnio.retry_in" in attributes_of(each) for each in spans]
    assert {None} == {each.parent for each in spans}


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_narrowed_window_has_a_span_of_its_own(telemetry: Telemetry, ahead: bool) -> None:
    """A server that answers 504 to long ranges: the windows that were given up say so, and no record is missing."""

    def answer(request: httpx.Request) -> httpx.Response:
        start, end = (
            datetime.fromisoformat(json.loads(request.content)["params"][name]) for name in ("strTime", "endTime")
        )
        return httpx.Response(504) if end - start > 8 * DAY else httpx.Response(200, json=EMPTY)

    async with session_with(answer, retry=Retry(attempts=1)) as session:
        telemetry.instrument(session)
        stream = session.records(END - 60 * DAY, END)
        if ahead:
            async with stream.prefetch() as reading:
                assert [] == [record async for record in reading]
        else:
            assert [] == await stream.collect()

    narrowed = telemetry.total("itnio.windows", itnio__outcome="narrowed")
    windows = [attributes_of(each) for each in telemetry.spans("window")]
    given_up = [each for each in windows if each["itnio.outcome"] == "narrowed"]
    assert len(given_up) == narrowed > 0
    assert {("HTTPStatusError", 0)} == {(each[ERROR], each["itnio.records"]) for each in given_up}
    assert len(windows) - narrowed == telemetry.total("itnio.windows", itnio__outcome="complete") > 1


async def test_a_window_that_fails_is_an_error_span(telemetry: Telemetry) -> None:
    """The window whose error is raised is an error span with the error's name."""
    async with session_with(lambda _: httpx.Response(404), retry=Retry(attempts=1)) as session:
        telemetry.instrument(session)
        with pytest.raises(ItnioError):
            await session.records(END - 2 * DAY, END - DAY).collect()

    (window,) = telemetry.spans("window")
    assert ("failed", "HTTPStatusError") == (attributes_of(window)["itnio.outcome"], attributes_of(window)[ERROR])
    assert StatusCode.ERROR is window.status.status_code


async def test_a_refusal_and_a_cancellation_are_error_spans(telemetry: Telemetry) -> None:
    """A refusal has the vendor's status, and the name of the error; a cancelled request has no HTTP status."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            await anyio.sleep_forever()
        return httpx.Response(200, json={"status": "-22", "reason": PHONE})

    async with session_with(answer) as session:
        telemetry.instrument(session)
        with pytest.raises(ItnioError):
            await session.page(END - DAY, END)
        async with anyio.create_task_group() as group:
            group.start_soon(partial(session.record, PHONE))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    refused, cancelled = telemetry.spans()
    assert [StatusCode.ERROR] * 2 == [each.status.status_code for each in (refused, cancelled)]
    shown = attributes_of(refused)
    assert (200, "-22", "ParameterError") == (shown[STATUS], shown["itnio.status"], shown[ERROR])
    assert "cancelled" == attributes_of(cancelled)[ERROR]
    assert STATUS not in attributes_of(cancelled)
    assert "GET /voice/recordGroup/{voice_id}" == cancelled.name
    assert "https://api.example.com/voice/recordGroup/REDACTED" == attributes_of(cancelled)["url.full"]


async def test_no_secret_and_no_number_is_in_a_span_or_a_metric(telemetry: Telemetry, tmp_path: Path) -> None:
    """Neither secrets, signatures, filters, ids and the queries of URLs, nor what a server echoes."""
    signatures = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "files.example.com":
            return httpx.Response(200, content=b"RIFF")
        signatures.append(request.headers["Sign"])
        if b"phoneName" in request.content:
            return httpx.Response(200, json={"status": f"-1 {SECRET}", "reason": request.headers["Sign"]})
        url = f"https://files.example.com/{PHONE}?X-Amz-Signature={SECRET}"
        return httpx.Response(200, json={"status": "0", "data": {"url": url}})

    async with session_with(answer, retry=Retry(attempts=1)) as session:
        telemetry.instrument(session)
        with pytest.raises(ItnioError):
            await session.records(END - DAY, END, of=SipRecord, where={"phone_name": PHONE}).collect()
        await session.record(PHONE)
        await session.download_recording(PHONE, tmp_path / "a.wav", source="sip")

    assert {"POST /voice/recordSipQuery", "GET", "GET /voice/getRecordingFileUrl"} < {x.name for x in telemetry.spans()}
    shown = "".join(span.to_json() for span in telemetry.spans()) + repr(telemetry.metrics())
    assert signatures
    assert [] == [text for text in (PHONE, SECRET, *signatures) if text in shown]


class Opened(SpanProcessor):
    """Counts the spans that are open."""

    def __init__(self) -> None:
        self.open = self.started = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 -- an interface
        """Count it."""
        self.open += 1
        self.started += 1

    def on_end(self, span: Any) -> None:  # noqa: ARG002 -- an interface
        """Count it no longer."""
        self.open -= 1


@pytest.mark.parametrize("way", ["loop", "prefetch", "cancel"])
async def test_leaving_a_loop_leaves_no_span_open(itnio_sandbox: Sandbox, telemetry: Telemetry, way: str) -> None:
    """Each span that was started has ended, and the caller's span is still the current one."""
    opened = Opened()
    telemetry.tracing.add_span_processor(opened)
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        with telemetry.caller() as caller:
            stream = session.records(END - 60 * DAY, END)
            if way == "prefetch":
                async with stream.prefetch() as ahead:
                    async for _ in ahead:
                        break
            elif way == "cancel":
                with anyio.CancelScope() as scope:
                    async for _ in stream:
                        scope.cancel()
            else:
                async for _ in stream:
                    break
            assert caller is trace.get_current_span()
            assert 1 == opened.open < opened.started


async def test_each_task_has_its_own_parent(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """Two tasks that share a session: the spans of each are below its own span."""
    parents: dict[str, int] = {}
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)

        async def read(name: str, start: datetime) -> None:
            with telemetry.tracing.get_tracer("app").start_as_current_span(name) as span:
                parents[(start - timedelta(seconds=1)).isoformat()] = span.get_span_context().span_id
                await session.records(start, start + DAY).collect()

        async with anyio.create_task_group() as group:
            group.start_soon(read, "one", END - 9 * DAY)
            group.start_soon(read, "two", END - 5 * DAY)

    spans = telemetry.spans("POST ")
    assert len(itnio_sandbox.requests) == len(spans) >= 4
    assert all(span.parent and parents[bounds(span)[0]] == span.parent.span_id for span in spans)


async def test_all_sessions_are_instrumented_from_now_on(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """`instrument()` is for the sessions that are created after it, and a second call creates no second span."""
    async with session_on(itnio_sandbox) as earlier:
        telemetry.instrument()
        telemetry.instrument()
        await earlier.page(END - DAY, END)
        assert [] == telemetry.spans()
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        uninstrument()
        await session.page(END - DAY, END)
        assert 1 == len(telemetry.spans())
    async with session_on(itnio_sandbox) as later:
        await later.page(END - DAY, END)
    assert 1 == len(telemetry.spans()) == telemetry.total("http.client.request.duration")


async def test_a_failing_exporter_loses_no_record(
    itnio_sandbox: Sandbox, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """A span processor that raises an exception is logged once; records and the other hook are unaffected."""

    class Fails(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 -- an interface
            raise OSError(self)

    attempts: list[object] = []
    async with session_on(itnio_sandbox) as session:
        expected = await session.records(END - 9 * DAY, END).collect()
    before = len(itnio_sandbox.requests)
    telemetry.tracing.add_span_processor(Fails())
    async with session_on(itnio_sandbox, on_attempt=attempts.append) as session:
        telemetry.instrument(session)
        assert expected == await session.records(END - 9 * DAY, END).collect()

    assert len(attempts) == len(itnio_sandbox.requests) - before
    assert 1 == len([record for record in caplog.records if record.name == "itnio_voice.observers"])


async def test_without_providers_nothing_is_recorded_and_nothing_fails(itnio_sandbox: Sandbox) -> None:
    """Without an SDK, OpenTelemetry's API does nothing."""
    async with session_on(itnio_sandbox) as session:
        instrument(session)
        assert await session.records(END - 9 * DAY, END).collect()


def test_only_a_session_can_be_instrumented() -> None:
    """For example an HTTP client is refused."""
    client: Any = httpx.AsyncClient()
    with pytest.raises(TypeError, match="session must be a VoiceSession"):
        instrument(client)


async def test_followers_and_limits_count_their_records(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """A stream with a limit counts the records that it returns, and so does a follower."""
    async with session_on(itnio_sandbox) as session:
        telemetry.instrument(session)
        assert 7 == len(await session.latest(7))
        assert 7 == telemetry.total("itnio.records")
        async for batch in session.follow(END - DAY).batches():
            assert 7 + len(batch.records) == telemetry.total("itnio.records")
            break


# The page


def masked(text: str) -> list[str]:
    """Return the different lines of a text, without numbers."""
    return sorted({re.sub(r" *[0-9.]+", "0", line) for line in text.split("\n")})


def shown(telemetry: Telemetry) -> str:
    """Return the spans and the metrics as the page shows them: as text, without dates and ports."""
    spans = telemetry.spans()
    root = next(span for span in spans if span.parent is None)
    children = sorted((span for span in spans if span is not root), key=lambda span: span.start_time or 0)
    lines = [f"{root.name:32} {_milliseconds(root)}"]
    for span in children:
        hidden = ("itnio.window_", "itnio.api_key", "url.", "server.", METHOD)
        shown = {name: value for name, value in attributes_of(span).items() if not name.startswith(hidden)}
        lines.append(f"  {span.name:30} {_milliseconds(span)}  {_listed(shown)}".rstrip())
    lines.append("")
    for name, points in telemetry.metrics().items():
        for point in points:
            value = f"{point.count} of {point.sum:.3f} s" if hasattr(point, "count") else f"{point.value:g}"
            shown = {key: value for key, value in point.attributes.items() if not key.startswith("server.")}
            lines.append(f"{name:32} {value:>13}  {_listed(shown)}".rstrip())
    return "```text\n" + "\n".join(lines) + "\n```"


def _milliseconds(span: ReadableSpan) -> str:
    return f"{((span.end_time or 0) - (span.start_time or 0)) / 1e6:6.1f} ms"


def _listed(attributes: dict[str, Any]) -> str:
    texts = {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in attributes.items()}
    return ", ".join(f"{name}={value}" for name, value in texts.items())


async def walk_for_the_page(sandbox: Sandbox, telemetry: Telemetry) -> str:
    """Read a day on a server that is out of order for a moment, and return the spans and the metrics as text."""
    sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=1),))
    async with session_on(sandbox, concurrency=1) as session:
        telemetry.instrument(session)
        with telemetry.caller():
            await session.records(END - 9 * DAY, END - 2 * DAY).collect()
    return shown(telemetry)


@pytest.mark.itnio_sandbox(records=RECORDS)
async def test_the_page_shows_the_trace_of_a_walk(itnio_sandbox: Sandbox, telemetry: Telemetry) -> None:
    """It has these spans and metrics, apart from the numbers. To write them, see the top of this file."""
    block = re.search(r"<!-- trace -->\n(.*?)\n<!-- end of trace -->", PAGE.read_text(), re.DOTALL)

    assert block
    assert masked(await walk_for_the_page(itnio_sandbox, telemetry)) == masked(block[1])


if __name__ == "__main__":
    with Sandbox(records=RECORDS) as running:
        text = anyio.run(walk_for_the_page, running, Telemetry())
    page = PAGE.read_text()
    beginning, _, rest = page.partition("<!-- trace -->\n")
    PAGE.write_text(
        f"{beginning}<!-- trace -->\n{text}\n<!-- end of trace -->{rest.partition('<!-- end of trace -->')[2]}"
    )
