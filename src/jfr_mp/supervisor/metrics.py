"""The metrics of a master for Prometheus, served over HTTP in threads of their own.

Role processes measure their steps and report them over the bus; the master passes them on to an `Exporter`, together
with its own status. Jobs are counted in the database when Prometheus asks. Nothing here delays the loop of the master.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Count
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jfr_mp.bus.messages import Measured
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.queries import count_jobs_by_worker
from jfr_mp.errors import ConfigError, JfrMpError
from jfr_mp.states import JobState
from jfr_mp.step_table import STEPS
from jfr_mp.supervisor.lifecycle import State
from jfr_mp.supervisor.metrics_server import MetricsServer

if TYPE_CHECKING:
    from jfr_mp.bus.messages import MasterStatus
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: Seconds for which counts of jobs are used again, so that several scrapers cost no more than one.
_COUNTS_LAST = 5.0
_DATABASE_DOWN: tuple[type[Exception], ...] = (*TRANSIENT, JfrMpError)
#: Seconds that a scrape waits for a database that does not answer.
_DATABASE_WITHIN = 3.0
#: The bounds of histograms, in seconds: from a local step to a job that takes days.
_STEP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_STATE_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400)
_BUS_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Exporter:
    """Serves the metrics of a master.

    Parameters
    ----------
    project
        The project whose jobs are counted.
    address
        The address to listen at, as ``HOST:PORT``.

    Attributes
    ----------
    status
        The last status of the master, which sets it about once a second.

    Raises
    ------
    ConfigError
        The package prometheus-client is not installed.
    """

    def __init__(self, project: Project, address: str) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise ConfigError(
                "metrics need the package prometheus-client: install it with `pip install 'jfr-mp[metrics]'`"
            ) from None
        self._prometheus = prometheus
        self.address = address
        self._registry = prometheus.CollectorRegistry()
        self._steps = prometheus.Counter(
            "jfr_mp_steps", "Steps of jobs by outcome.", ["step", "worker", "outcome"], registry=self._registry
        )
        self._step_seconds = self._histogram(
            "jfr_mp_step_seconds", "Duration of steps.", ["step", "worker"], _STEP_BOUNDS
        )
        self._state_seconds = self._histogram(
            "jfr_mp_state_seconds", "Time that jobs spent in a state.", ["state", "worker"], _STATE_BOUNDS
        )
        self._bus_seconds = self._histogram(
            "jfr_mp_bus_seconds", "Time from a role process to the master over the control bus.", [], _BUS_BOUNDS
        )
        self._jobs = JobCounts(project)
        self._registry.register(_Snapshot(project, self, self._jobs))
        self.status: MasterStatus | None = None
        self._server: MetricsServer | None = None

    def start(self) -> None:
        """Begin to serve; an address that cannot be used is logged, because jobs do not depend on metrics."""
        host, _, port = self.address.rpartition(":")
        try:
            application = self._prometheus.make_wsgi_app(self._registry)
            self._server = MetricsServer(host.strip("[]"), int(port), application)
        except OSError as error:
            logger.error(
                "no metrics are served: cannot listen at %s: %s; choose another address for each master of a machine "
                "with --metrics",
                *(self.address, error.strerror or error),
            )
        else:
            logger.info("metrics are served at http://%s/metrics", self.address)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._jobs.close()

    def note(self, measured: Measured) -> None:
        """Add what a role process measured; call it when the message arrives."""
        self._bus_seconds.observe(max(0.0, time.monotonic() - measured.sent))
        for each in measured.steps:
            self._steps.labels(each.step, each.worker, each.outcome).inc()
            if each.seconds is not None:
                self._step_seconds.labels(each.step, each.worker).observe(each.seconds)
        for state in measured.states:
            self._state_seconds.labels(state.state, state.worker).observe(max(0.0, state.seconds))

    def _histogram(self, name: str, text: str, labels: list[str], bounds: tuple[float, ...]) -> Any:
        return self._prometheus.Histogram(name, text, labels, buckets=bounds, registry=self._registry)


@contextmanager
def exporting(project: Project) -> Iterator[Exporter | None]:
    """Serve metrics while the block runs, if the project asks for them.

    Raises
    ------
    ConfigError
        The package prometheus-client is not installed.
    """
    if project.jfr_mp.metrics is None:
        yield None
        return
    exporter = Exporter(project, project.jfr_mp.metrics)
    exporter.start()
    try:
        yield exporter
    finally:
        exporter.close()


class _Snapshot:
    """The metrics that are made when Prometheus asks: of the last status, and of the database."""

    def __init__(self, project: Project, exporter: Exporter, jobs: JobCounts) -> None:
        self._exporter = exporter
        self._jobs = jobs
        self._workers = sorted(project.workers)

    def describe(self) -> list[Any]:
        """Return nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        yield from self._of_processes()
        yield from self._of_jobs()

    def _of_processes(self) -> Iterator[Any]:
        status = self._exporter.status
        if status is None:
            return
        yield _gauge(
            "jfr_mp_role_processes",
            "Role processes of this master by state.",
            ("role", "state"),
            Count((role.role.value, role.state) for role in status.roles),
        )
        yield _gauge(
            "jfr_mp_role_processes_up",
            "Role processes of this master that are running.",
            ("role",),
            {
                (role,): sum(each.state == State.RUNNING for each in status.roles if each.role == role)
                for role in dict.fromkeys(each.role.value for each in status.roles)
            },
        )
        yield _gauge(
            "jfr_mp_role_process_restarts",
            "How often a role process was restarted since its master started.",
            ("name",),
            {(role.name,): role.restarts for role in status.roles},
        )
        yield _gauge(
            "jfr_mp_role_process_memory_bytes",
            "Resident memory of a role process.",
            ("name",),
            {(role.name,): role.rss_bytes for role in status.roles if role.rss_bytes is not None},
        )
        unreachable = {name.strip() for outage in status.outages for name in outage.host.split(",")}
        yield _gauge(
            "jfr_mp_host_up",
            "Whether the host of a worker is reachable, as far as this master knows.",
            ("worker",),
            {(worker,): int(worker not in unreachable) for worker in self._workers},
        )

    def _of_jobs(self) -> Iterator[Any]:
        counts, seconds = self._jobs.get()
        yield _gauge("jfr_mp_database_up", "Whether the queue database answers.", (), {(): int(counts is not None)})
        if counts is None:
            return
        yield _gauge("jfr_mp_database_seconds", "Duration of the last count of jobs.", (), {(): seconds})
        yield _gauge("jfr_mp_jobs", "Jobs by state and worker.", ("state", "worker"), counts)
        depth = {
            (step.name,): sum(count for (state, _), count in counts.items() if JobState(state) in step.sources)
            for step in STEPS
        }
        yield _gauge("jfr_mp_queue_depth", "Jobs that are in a state from which a step takes them.", ("step",), depth)


class JobCounts:
    """The number of jobs by state and worker, counted at most every few seconds; any thread may ask.

    Parameters
    ----------
    project
        The project whose jobs are counted.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._db: QueueDatabase | None = None
        self._due = 0.0
        self._known: tuple[Mapping[tuple[str, str], int] | None, float] = (None, 0.0)

    def get(self) -> tuple[Mapping[tuple[str, str], int] | None, float]:
        """Return the counts by (state, worker), or None if the database is down, and the seconds that counting took."""
        with self._lock:
            if time.monotonic() >= self._due:
                begun = time.monotonic()
                counts = self._count()
                self._known = counts, time.monotonic() - begun
                self._due = time.monotonic() + _COUNTS_LAST
            return self._known

    def close(self) -> None:
        """Close the connection to the database, after a count that is under way."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _count(self) -> Mapping[tuple[str, str], int] | None:
        try:
            if self._db is None:
                self._db = QueueDatabase.connect(self._project, timeout=_DATABASE_WITHIN)
            return count_jobs_by_worker(self._db)
        except _DATABASE_DOWN as error:
            logger.debug("jobs cannot be counted for the metrics: %s", error)
            return None


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
