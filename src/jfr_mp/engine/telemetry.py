"""Sending spans by OTLP over HTTP; importing this module imports OpenTelemetry, which is the optional extra `otel`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from jfr_mp import __version__

if TYPE_CHECKING:
    from jfr_mp.engine.traces import Attributes, TraceSpan

logger = logging.getLogger(__name__)

#: Seconds that the end of a process waits until the last spans are sent.
_CLOSE_WITHIN = 2.0
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


class Telemetry:
    """Sends spans to a collector, from a thread of its own and a queue of limited length.

    The standard variables ``OTEL_*`` of the environment apply, such as those with headers, certificates, limits, the
    sampler and attributes of the resource.

    Parameters
    ----------
    endpoint
        The URL to which spans are posted; None for that in the environment.
    shown
        The same URL, of which messages show the host.
    about
        The attributes of this process.
    """

    def __init__(self, endpoint: str | None, shown: str, about: Attributes) -> None:
        # Its messages quote variables and addresses, which may contain secrets; what a user needs is logged below.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "jfr-mp", "service.version": __version__}
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({**name, **about}), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(endpoint, shown)))
        self._tracer = self._provider.get_tracer("jfr_mp", __version__)

    def take(self, span: TraceSpan) -> None:
        """Put a span into the queue; if that is full, the oldest one is dropped."""
        self._ids.set(span.trace_id, span.span_id)
        context = Context()
        if span.parent_id is not None:
            # Whether a trace is sampled depends on its id alone, so that all processes decide alike.
            sampled = self._provider.sampler.should_sample(None, span.trace_id, span.name).decision.is_sampled()
            flags = _SAMPLED if sampled else trace.DEFAULT_TRACE_OPTIONS
            parent = trace.SpanContext(span.trace_id, span.parent_id, is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
        made = self._tracer.start_span(span.name, context, attributes=span.attributes, start_time=_nanos(span.begin))
        if span.error is not None:
            made.set_attribute("error.message", span.error)
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        made.end(_nanos(span.end))

    def close(self) -> None:
        """Send the spans that are left, for two seconds at most."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_CLOSE_WITHIN)


class _Ids(IdGenerator):
    """Gives the next span of a thread the ids that were set before, instead of random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._next = threading.local()

    def set(self, trace_id: int, span_id: int | None) -> None:
        self._next.trace_id, self._next.span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        trace_id: int = self._next.trace_id
        return trace_id

    def generate_span_id(self) -> int:
        span_id: int | None = self._next.span_id
        return span_id or self._random.generate_span_id()


class _Exporter(SpanExporter):
    """Posts spans, and logs once if the collector does not take them, without any part of a URL that may be secret."""

    def __init__(self, endpoint: str | None, shown: str) -> None:
        self._where = "the collector of traces"
        with suppress(ValueError):
            self._where += f" at {urlsplit(shown).hostname}:{urlsplit(shown).port or 'its usual port'}"
        self._answer = "it does not answer"
        self._failing = False
        session = requests.Session()
        session.hooks["response"].append(self._note)
        self._exporter = OTLPSpanExporter(endpoint, session=session)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._answer = "it does not answer"
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            logger.warning("%s takes no spans, which are dropped until it does: %s", self._where, self._answer)
        elif self._failing and not failed:
            logger.info("%s takes spans again", self._where)
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _note(self, response: requests.Response, **_options: object) -> None:
        hint = "; see OTEL_EXPORTER_OTLP_HEADERS" if response.status_code in (401, 403) else ""
        self._answer = f"HTTP status {response.status_code}{hint}"


def _nanos(moment: datetime) -> int:
    """Return the nanoseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND * 1000
