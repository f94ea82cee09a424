"""A collector of OpenTelemetry traces, which takes OTLP over HTTP and decodes it with the protocol's own package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.receivers import WebServer


@dataclass(frozen=True)
class Received:
    """A span as it has arrived.

    Parameters
    ----------
    name, trace, id, parent
        Its name and ids in hexadecimal; `parent` is empty for the root of a trace.
    begin, end
        Its times in seconds since 1970.
    attributes
        Those of the span and of the process that sent it.
    error
        The message of its status if that is an error.
    """

    name: str
    trace: str
    id: str
    parent: str
    begin: float
    end: float
    attributes: dict[str, Any]
    error: str | None


class Collector(WebServer):
    """Accepts spans.

    Parameters
    ----------
    status
        The HTTP status with which it answers.

    Attributes
    ----------
    spans
        What has arrived.
    headers
        The headers of the last request.
    """

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.spans: list[Received] = []
        self.headers: dict[str, str] = {}
        self._status = status

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Accept spans."""
        assert path == "/v1/traces"
        self.headers = headers
        self.spans += _decoded(body)
        return self._status

    @property
    def url(self) -> str:
        """Its URL, as the project file has it."""
        return f"http://{self.address}"

    def of_job(self, job: dict[str, Any]) -> list[Received]:
        """Return the spans of a job, given as its document."""
        return [span for span in self.spans if span.attributes.get("jfr_mp.job.uuid") == job["uuid"]]


def _decoded(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Received(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            {**_values(resource.resource.attributes), **_values(span.attributes)},
            span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
