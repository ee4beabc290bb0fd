"""Spans and metrics of sessions, with OpenTelemetry. Extra opentelemetry.

A span is created when its attempt or window has ended, with the times of its start and its end. So no span is left open
if a loop is left early, and an application without a tracer provider does not pay for the context of spans.
"""

import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import anyio

from ._client.session import VoiceSession
from ._extras import needs
from ._model.observing import DEFAULT_OBSERVERS, Attempt, Observer, WindowReading

with needs("opentelemetry"):
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

__all__ = ["instrument", "uninstrument"]

_SCHEMA = "https://opentelemetry.io/schemas/1.26.0"
"""The version of the semantic conventions in which all attributes that are used here have these names."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the conventions advise for `http.client.request.duration`, in seconds."""
_FIRST_ERROR = 400
_ID = re.compile(r"\{[a-z_]+\}")


def instrument(
    session: VoiceSession | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Create spans and metrics for a session; without `session`, for every session that is created from now on.

    Without providers, those of the process are used. A second call for a session replaces the first. Do not instrument
    the HTTP client of the session as well: each request would have two spans, and would be counted twice.

    Raises:
        TypeError: if `session` is not a `VoiceSession`.
    """
    if session is not None and not isinstance(session, VoiceSession):
        message = f"session must be a VoiceSession, not {session!r:.200}"
        raise TypeError(message)
    observer = _Telemetry(tracer_provider, meter_provider)
    if session is None:
        uninstrument()
        DEFAULT_OBSERVERS.append(observer)
    else:
        session._transport.observers.add(observer, instead_of=_Telemetry)  # noqa: SLF001 -- a part of the session


def uninstrument() -> None:
    """Create no spans and metrics for sessions that are created from now on."""
    DEFAULT_OBSERVERS[:] = [each for each in DEFAULT_OBSERVERS if not isinstance(each, _Telemetry)]


class _Telemetry(Observer):
    """Spans and metrics of what sessions report. The parent of a span is the current span of the task that reports."""

    def __init__(self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
        version: str = sys.modules["itnio_voice"].__version__
        self._tracer = trace.get_tracer("itnio_voice", version, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("itnio_voice", version, meter_provider, _SCHEMA)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._retries = meter.create_counter("itnio.retries", "{retry}", "Attempts that are followed by another one.")
        self._records = meter.create_counter("itnio.records", "{record}", "Records returned by streams and followers.")
        self._windows = meter.create_counter("itnio.windows", "{window}", "Windows read, by itnio.outcome.")
        self._offset = meter.create_gauge("itnio.clock_offset", "s", "The server's clock minus this machine's.")

    def attempt(self, attempt: Attempt) -> None:
        """Create the span of an attempt, and count it."""
        host: dict[str, Any] = {"server.address": attempt.server_address, "server.port": attempt.server_port}
        measured: dict[str, Any] = {"http.request.method": attempt.method, **host}
        if attempt.status_code is not None:
            measured["http.response.status_code"] = attempt.status_code
        if attempt.error:
            is_http = (attempt.status_code or 0) >= _FIRST_ERROR
            measured["error.type"] = str(attempt.status_code) if is_http else attempt.error
        template = urlsplit(attempt.url).path
        further = {
            "url.full": _ID.sub("REDACTED", attempt.url),
            "url.template": template or None,
            "http.request.resend_count": attempt.number - 1 or None,
            "itnio.api_key": attempt.api_key,
            "itnio.status": attempt.status,
            "itnio.page": attempt.page,
            "itnio.retry_in": attempt.retry_in,
            "itnio.window_start": attempt.window and attempt.window.start.isoformat(),
            "itnio.window_end": attempt.window and attempt.window.end.isoformat(),
        }
        began = int(attempt.started.timestamp() * 1e9)
        attributes = measured | _known(further)
        span = self._tracer.start_span(
            f"{attempt.method} {template}".rstrip(), kind=SpanKind.CLIENT, attributes=attributes, start_time=began
        )
        if attempt.error:
            span.set_status(Status(StatusCode.ERROR))
        span.end(began + int(attempt.seconds * 1e9))
        self._duration.record(attempt.seconds, measured, trace.set_span_in_context(span))
        if attempt.retry_in is not None:
            self._retries.add(1, host | {"error.type": measured["error.type"]})
        if attempt.clock_offset is not None:
            self._offset.set(attempt.clock_offset, host)

    def window(self, reading: WindowReading) -> None:
        """Create the span of a window, and count it."""
        ended = time.time_ns() - int((anyio.current_time() - reading.ended) * 1e9)
        attributes = {
            "itnio.window_start": reading.window.start.isoformat(),
            "itnio.window_end": reading.window.end.isoformat(),
            "itnio.outcome": reading.outcome,
            "itnio.records": reading.records,
            "itnio.total": reading.total,
            "itnio.pages": reading.pages,
            "itnio.passes": reading.passes,
            "error.type": reading.error,
        }
        began = ended - int((reading.ended - reading.began) * 1e9)
        span = self._tracer.start_span("itnio_voice.window", attributes=_known(attributes), start_time=began)
        if reading.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)
        self._windows.add(1, {"itnio.outcome": reading.outcome})

    def records(self, number: int) -> None:
        """Count records."""
        self._records.add(number)


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}
