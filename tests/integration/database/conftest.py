"""Queue databases on real servers, and the small vocabulary in which the tests of the store are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from jobflow import Flow, Job, JobStore, Response
from jobflow.core.flow import get_flow
from maggma.stores import MemoryStore
from monty.json import jsanitize

from jfr_mp.config import ConfigManager, RunnerOptions
from jfr_mp.database.claims import Claim, claim
from jfr_mp.database.commits import commit
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.database.submission import add_flow
from jfr_mp.outcomes import Added, Completion, Outcome
from jfr_mp.states import JobState
from jfr_mp.step_table import COMPLETE, Step
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory, TestProject

OWNER = "host:1:aaaa"


class Queue:
    """A prepared queue database, and what tests do with it.

    Parameters
    ----------
    db
        The connection.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self.db = db
        self.policy = RunnerOptions(max_step_attempts=2, delta_retry=(10, 20))

    def add(self, flow: Flow | Job, **options: Any) -> list[str]:
        """Submit a flow to the worker `local`."""
        return add_flow(self.db, flow, **{"worker": "local", **options})

    def job(self, job: Job | str, index: int = 1) -> dict[str, Any]:
        """Return the document of a job."""
        uuid = job if isinstance(job, str) else job.uuid
        document = self.db.jobs.find_one({"uuid": uuid, "index": index})
        assert document is not None, f"there is no job {uuid} {index}"
        return document

    def flow(self, job: Job) -> dict[str, Any]:
        """Return the document of the flow of a job."""
        document = self.db.flows.find_one({"jobs": job.uuid})
        assert document is not None
        return document

    def states(self) -> dict[tuple[str, int], str]:
        """Return the state of every job by name and index."""
        return {(job["job"]["name"], job["index"]): job["state"] for job in self.db.jobs.find()}

    def put(self, job: Job | str, state: JobState, index: int = 1, **fields: Any) -> None:
        """Bring a job into a state."""
        uuid = job if isinstance(job, str) else job.uuid
        self.db.jobs.update_one({"uuid": uuid, "index": index}, {"$set": {"state": state.value, **fields}})

    def finish(self, job: Job, step: Step, outcome: Outcome) -> tuple[JobState, ...]:
        """Claim one job for a step and commit its outcome."""
        with self.claimed(step, JobFilter(job_ids=((job.uuid, job.index),))) as claim:
            return commit(self.db, claim, step, outcome, self.policy)

    @contextmanager
    def claimed(self, step: Step, jobs: JobFilter | None = None, owner: str = OWNER) -> Iterator[Claim]:
        """Claim the one next job for a step."""
        with claim(self.db, step, owner, jobs) as claims:
            (one,) = claims
            yield one

    def complete(self, job: Job, completion: Completion | None = None) -> tuple[JobState, ...]:
        """Take a job from wherever it is to its end: COMPLETED, unless `completion` says otherwise."""
        self.put(job, JobState.DOWNLOADED, job.index)
        return self.finish(job, COMPLETE, completion or Completion(JobState.COMPLETED))


def completion_of(job: Job, store: JobStore) -> Completion:
    """Run a job here and return how it ends, as its output file would say it."""
    response: Response[Any] = job.run(store=store)
    stored_data: Any = response.stored_data
    added = [(kind, getattr(response, kind.value)) for kind in (Added.REPLACE, Added.ADDITION, Added.DETOUR)]
    return Completion(
        JobState.COMPLETED,
        stored_data=stored_data,
        added=tuple((kind, _serialized(flow)) for kind, flow in added if flow is not None),
        stop_children=response.stop_children,
        stop_jobflow=response.stop_jobflow,
    )


def _serialized(flow: Flow | Job) -> Mapping[str, Any]:
    """Serialize what a job returned as the worker does."""
    serialized: Mapping[str, Any] = jsanitize(
        get_flow(flow, allow_external_references=True), strict=True, enum_values=True
    )
    return serialized


@pytest.fixture
def run_job() -> Callable[[Job], Completion]:
    """Runs a job here and returns how it ends."""
    store = JobStore(MemoryStore())
    store.connect()
    return lambda job: completion_of(job, store)


@pytest.fixture
def open_queue(fresh_project: ProjectFactory) -> Iterator[Callable[..., Queue]]:
    """Call it with a server, or a project, to get a prepared queue database."""
    with ExitStack() as stack:

        def open_one(server: Mongod | None = None, project: TestProject | None = None, **fields: Any) -> Queue:
            project = project or fresh_project(server=server, **fields)
            db = QueueDatabase.connect(ConfigManager().get_project(project.name))
            stack.callback(db.close)
            ensure_initialised(db)
            return Queue(db)

        yield open_one


@pytest.fixture
def queue(open_queue: Callable[..., Queue]) -> Queue:
    """A queue database on a replica set."""
    return open_queue()


@pytest.fixture(params=["transactions", "standalone"])
def any_queue(
    request: pytest.FixtureRequest,
    mongod_replica: Mongod,
    mongod_standalone: Mongod,
    open_queue: Callable[..., Queue],
) -> Queue:
    """A queue database with transactions, then one without."""
    return open_queue(mongod_replica if request.param == "transactions" else mongod_standalone)
