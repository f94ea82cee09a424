"""The metrics of a master as Prometheus reads them, with the counts of a real database."""

from __future__ import annotations

import secrets
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jfr_mp.bus.messages import MasterStatus, Measured, RoleStatus
from jfr_mp.config import ConfigManager, Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.indexes import ensure_indexes
from jfr_mp.database.queries import count_jobs_by_worker
from jfr_mp.measurements import StateMeasurement, StepMeasurement
from jfr_mp.model import Outage, utcnow
from jfr_mp.step_table import Role
from jfr_mp.supervisor import metrics_server
from jfr_mp.supervisor.metrics import Exporter, exporting
from jfr_mp.supervisor.metrics_server import MOST_CLIENTS
from tests.support.mongod import Mongod
from tests.support.processes import free_port
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(address: str) -> Samples:
    """Return the value of each sample, by its name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(samples: Samples, name: str, /, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


@pytest.fixture
def test_project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def project(test_project: TestProject) -> Project:
    return ConfigManager().get_project(test_project.name).overridden(metrics=f"127.0.0.1:{free_port()}")


@pytest.fixture
def exporter(project: Project) -> Iterator[Exporter]:
    with exporting(project) as serving:
        assert serving is not None
        yield serving


def insert(project: TestProject, count: int, state: str, worker: str = "local") -> None:
    documents = ({"db_id": secrets.token_hex(8), "uuid": secrets.token_hex(8), "index": 1} for _ in range(count))
    project.db.jobs.insert_many({**document, "state": state, "worker": worker} for document in documents)


def serving() -> list[str]:
    """Return the names of the threads that answer a client."""
    return [thread.name for thread in threading.enumerate() if "process_request_thread" in thread.name]


def test_clients_that_say_nothing_cost_few_threads(exporter: Exporter) -> None:
    # Given clients that connect and send nothing
    host, _, port = exporter.address.rpartition(":")
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((host, int(port))))]
        wait_until(serving, 20, "a thread for the first client")
        threads = []
        for _ in range(3 * MOST_CLIENTS):
            clients.append(stack.enter_context(socket.create_connection((host, int(port)))))
            threads.append(len(serving()))
        # When the server has accepted all of them, then it has closed those that are too many
        clients[-1].settimeout(20)
        assert clients[-1].recv(1) == b""
        assert max(threads) <= MOST_CLIENTS
    # And when they are gone, it answers again
    wait_until(lambda: not serving(), 20, "the end of their threads")
    assert value(scrape(exporter.address), "jfr_mp_database_up") == 1


def test_a_client_that_sends_a_byte_now_and_then_is_cut(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "WHOLE", 1.0)
    host, _, port = exporter.address.rpartition(":")
    with closing(socket.create_connection((host, int(port)), timeout=0.2)) as client:

        def is_cut() -> bool:
            try:
                client.sendall(b"x")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_cut, 20, "the end of the connection")
    wait_until(lambda: not serving(), 20, "the end of its thread")


def test_jobs_are_counted_by_state_and_worker(test_project: TestProject, exporter: Exporter) -> None:
    for count, state, worker in ((3, "READY", "local"), (2, "READY", "cluster"), (4, "DOWNLOADED", "local")):
        insert(test_project, count, state, worker)
    found = scrape(exporter.address)
    assert value(found, "jfr_mp_jobs", state="READY", worker="local") == 3
    assert value(found, "jfr_mp_jobs", state="READY", worker="cluster") == 2
    assert value(found, "jfr_mp_queue_depth", step="checkout") == 5
    assert value(found, "jfr_mp_queue_depth", step="complete") == 4
    assert value(found, "jfr_mp_queue_depth", step="upload") == 0
    assert value(found, "jfr_mp_database_up") == 1
    seconds = value(found, "jfr_mp_database_seconds")
    assert seconds is not None
    assert 0 < seconds < 5
    # Scrapers that come soon after one another cost one count
    insert(test_project, 1, "READY")
    assert value(scrape(exporter.address), "jfr_mp_jobs", state="READY", worker="local") == 3


def test_counting_reads_an_index_only(test_project: TestProject, project: Project) -> None:
    with closing(QueueDatabase.connect(project)) as db:
        ensure_indexes(db)
        insert(test_project, 20_000, "COMPLETED")
        insert(test_project, 100, "RUNNING")
        test_project.db.command("profile", 2)
        counts = count_jobs_by_worker(db)
    test_project.db.command("profile", 0)
    assert counts == {("COMPLETED", "local"): 20_000, ("RUNNING", "local"): 100}
    (profile,) = test_project.db.system.profile.find({"command.aggregate": "jobs"})
    assert (profile["docsExamined"], profile["keysExamined"]) == (0, pytest.approx(20_100, abs=100))


def test_processes_and_hosts_are_those_of_the_last_status(exporter: Exporter) -> None:
    rows = [
        RoleStatus(role=Role.QUEUE, name="queue-1", pid=1, state="RUNNING", restarts=2, rss_bytes=1000),
        RoleStatus(role=Role.TRANSFER, name="transfer-1", state="FATAL"),
    ]
    exporter.status = MasterStatus(host="here", pid=1, state="RUNNING", roles=rows)
    found = scrape(exporter.address)
    assert value(found, "jfr_mp_role_processes", role="transfer", state="FATAL") == 1
    assert value(found, "jfr_mp_role_processes_up", role="transfer") == 0
    assert value(found, "jfr_mp_role_processes_up", role="queue") == 1
    assert value(found, "jfr_mp_role_process_restarts", name="queue-1") == 2
    assert value(found, "jfr_mp_role_process_memory_bytes", name="queue-1") == 1000
    assert value(found, "jfr_mp_host_up", worker="local") == 1
    outage = Outage(host="local, other", since=utcnow(), why="no route", next_try=utcnow())
    exporter.status = MasterStatus(host="here", pid=1, state="RUNNING", roles=rows, outages=[outage])
    assert value(scrape(exporter.address), "jfr_mp_host_up", worker="local") == 0


def test_measurements_of_role_processes_add_up(exporter: Exporter) -> None:
    # Given what two processes report, one after the other has been restarted
    upload, again = StepMeasurement("upload", "local", "done", 0.02), StepMeasurement("upload", "local", "retry", 7.0)
    polled = StepMeasurement("poll", "local", "done", None)
    for _ in range(2):
        states = [StateMeasurement("CHECKED_OUT", "local", 40.0)]
        exporter.note(Measured(sent=time.monotonic(), steps=[upload, again, polled], states=states))
    found = scrape(exporter.address)
    assert value(found, "jfr_mp_steps_total", step="upload", worker="local", outcome="done") == 2
    assert value(found, "jfr_mp_steps_total", step="upload", worker="local", outcome="retry") == 2
    assert value(found, "jfr_mp_step_seconds_bucket", step="upload", worker="local", le="0.025") == 2
    assert value(found, "jfr_mp_step_seconds_count", step="upload", worker="local") == 4
    assert value(found, "jfr_mp_step_seconds_count", step="poll", worker="local") is None
    assert value(found, "jfr_mp_state_seconds_bucket", state="CHECKED_OUT", worker="local", le="60.0") == 2
    assert value(found, "jfr_mp_bus_seconds_count") == 2


def test_a_database_that_is_down_is_a_metric(own_mongod: Mongod, fresh_project: ProjectFactory) -> None:
    fresh_project("other", server=own_mongod)
    project = ConfigManager().get_project("other").overridden(metrics=f"127.0.0.1:{free_port()}")
    own_mongod.stop()
    with exporting(project) as exporter:
        assert exporter is not None
        found = scrape(exporter.address)
    assert value(found, "jfr_mp_database_up") == 0
    assert value(found, "jfr_mp_jobs", state="READY", worker="local") is None


def test_an_address_that_is_taken_stops_nothing(
    exporter: Exporter, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    with exporting(project) as second:
        assert second is not None
    assert "--metrics" in caplog.text
    assert scrape(exporter.address)
