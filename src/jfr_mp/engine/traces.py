"""OpenTelemetry traces of the lives of jobs: a trace for each job, a span for each stay in a state and for each step.

A span is made when its times are known, and handed to `jfr_mp.engine.telemetry`, which sends it from a thread of its
own. If the collector does not answer, spans are dropped; no step waits for it. OpenTelemetry is imported only if there
is a collector.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from jfr_mp.identity import host_name
from jfr_mp.model import JobDoc, utcnow
from jfr_mp.outcomes import Advance, Completion, Fail, Outcome, Retry
from jfr_mp.step_table import Step

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: The standard variables with the address of a collector, each of which switches traces on.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: The standard variable that forbids all telemetry.
DISABLED = "OTEL_SDK_DISABLED"
#: What is appended to the address in the project file.
PATH = "/v1/traces"
_LONGEST_ERROR = 500

Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class TraceSpan:
    """A span that has ended.

    Parameters
    ----------
    name
        Its name.
    trace_id
        Its trace, a number of 128 bits.
    span_id
        A number of 64 bits; None for a random one.
    parent_id
        The span in which it lies; None for the root of the trace.
    begin, end
        Its times, in UTC.
    attributes
        What is known about it.
    error
        What went wrong; None if nothing did.
    """

    name: str
    trace_id: int
    span_id: int | None
    parent_id: int | None
    begin: datetime
    end: datetime
    attributes: Attributes
    error: str | None = None


class Sink(Protocol):
    """Takes spans; `jfr_mp.engine.telemetry.Telemetry` sends them to a collector."""

    def take(self, span: TraceSpan) -> None:
        """Send a span at some time; does not wait."""

    def close(self) -> None:
        """Send the spans that are left; waits for a short time only."""


@dataclass(frozen=True)
class Traces:
    """Makes the spans of jobs; any thread may use it.

    Parameters
    ----------
    sink
        Takes the spans; None for no traces.
    hosts
        The host of each worker.
    flow_of
        Returns the uuid of the flow of a job, or None. It is called for each span, so it must remember.
    """

    sink: Sink | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    flow_of: Callable[[JobDoc], str | None] | None = None

    def step(self, step: Step, job: JobDoc, outcome: Outcome, seconds: float) -> None:
        """Note that a step was performed on a job, which took some seconds until now."""
        if self.sink is not None:
            end = utcnow()
            span = self._span(job, outcome, step.name, _stay_id(job), (end - timedelta(seconds=seconds), end))
            self._send(replace(span, attributes={**span.attributes, "jfr_mp.step": step.name}))

    def state(self, job: JobDoc, outcome: Outcome) -> None:
        """Note that an outcome was written, with which a job left its state, or begins the next attempt."""
        if self.sink is None:
            return
        now = utcnow()
        stay = self._span(job, outcome, job.state.value, _root_id(job), (job.updated_on, now))
        self._send(replace(stay, span_id=_stay_id(job)))
        if isinstance(outcome, Completion) and outcome.start_time and outcome.end_time:
            self._send(self._span(job, outcome, "run", _root_id(job), (outcome.start_time, outcome.end_time)))
        if isinstance(outcome, Completion | Fail):
            root = self._span(job, outcome, job.name or "job", None, (job.created_on, now))
            self._send(replace(root, span_id=_root_id(job)))

    def close(self) -> None:
        """Send what is left; waits for a short time only."""
        if self.sink is not None:
            self.sink.close()

    def _attributes(self, job: JobDoc, outcome: Outcome) -> dict[str, str | int]:
        found: dict[str, str | int | None] = {
            "jfr_mp.job.uuid": job.uuid,
            "jfr_mp.job.index": job.index,
            "jfr_mp.job.db_id": job.db_id,
            "jfr_mp.job.name": job.name,
            "jfr_mp.flow.uuid": self._flow(job),
            "jfr_mp.state": job.state.value,
            "jfr_mp.next_state": outcome.state.value if isinstance(outcome, Advance | Completion) else None,
            "jfr_mp.attempt": job.remote.step_attempts + 1,
            "jfr_mp.worker": job.worker,
            "jfr_mp.worker.host": self.hosts.get(job.worker),
            "jfr_mp.process_id": job.remote.process_id,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _flow(self, job: JobDoc) -> str | None:
        try:
            return self.flow_of(job) if self.flow_of else None
        except Exception as error:  # noqa: BLE001 - jobs do not depend on traces
            logger.debug("the flow of a span is unknown: %s", type(error).__name__)
            return None

    def _span(
        self, job: JobDoc, outcome: Outcome, name: str, parent_id: int | None, times: tuple[datetime, datetime]
    ) -> TraceSpan:
        begin, end = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in times)
        attributes = self._attributes(job, outcome)
        return TraceSpan(name, _trace_id(job), None, parent_id, min(begin, end), end, attributes, _error(outcome))

    def _send(self, span: TraceSpan) -> None:
        assert self.sink is not None
        try:
            self.sink.take(span)
        except Exception as error:  # noqa: BLE001 - jobs do not depend on traces
            logger.debug("a span was lost: %s", type(error).__name__)


NO_TRACES = Traces()


def open_traces(project: Project, process: str) -> Traces:
    """Return the traces of a process, which are off unless the project or the environment names a collector.

    Parameters
    ----------
    project
        The project.
    process
        The name of the process in status.

    Raises
    ------
    ConfigError
        The project asks for traces, and the packages of OpenTelemetry are not installed.
    """
    options = project.jfr_mp.otel
    if os.environ.get(DISABLED, "").strip().lower() == "true":
        return NO_TRACES
    address = options.endpoint if options else next(filter(None, map(os.environ.get, ENDPOINTS)), None)
    if address is None:
        return NO_TRACES
    about: dict[str, str | int] = {"host.name": host_name(), "process.pid": os.getpid()}
    about |= {"jfr_mp.project": project.name, "jfr_mp.process": process}
    endpoint = None if options is None else options.endpoint.removesuffix("/").removesuffix(PATH) + PATH
    if options is not None:
        options.require_packages()
    try:
        from jfr_mp.engine.telemetry import Telemetry

        sink = Telemetry(endpoint, address, about)
    except ImportError:
        logger.info("OTEL_* variables ask for traces; to send them, install `jfr-mp[otel]`")
        return NO_TRACES
    except Exception as error:  # noqa: BLE001 - jobs do not depend on traces; the message may contain a secret
        logger.error("there are no traces, because OTEL_* variables cannot be used: %s", type(error).__name__)
        return NO_TRACES
    hosts = {name: str(getattr(worker, "host", host_name())) for name, worker in project.workers.items()}
    return Traces(sink, hosts)


def _error(outcome: Outcome) -> str | None:
    """Return what went wrong, in one line."""
    text = outcome.why if isinstance(outcome, Retry | Fail) else getattr(outcome, "error", None)
    return None if text is None else text.strip().rpartition("\n")[2][:_LONGEST_ERROR]


# The ids derive from the job, so that processes on different machines contribute to one trace.


def _trace_id(job: JobDoc) -> int:
    return _number(job, 16)


def _root_id(job: JobDoc) -> int:
    return _number(job, 8, "root")


def _stay_id(job: JobDoc) -> int:
    """Return the id of the span of a stay in a state."""
    return _number(job, 8, job.state.value, job.updated_on.isoformat())


def _number(job: JobDoc, size: int, *what: str) -> int:
    text = "/".join([job.uuid, str(job.index), *what])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size], "big")
