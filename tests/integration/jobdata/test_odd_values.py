"""Values that JSON cannot express arrive as `run_locally` gives them, in each format of the transfer stores."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore

from jfr_mp import Runner, submit_flow
from tests.support.jobs import describe, odd_values
from tests.support.projects import ProjectFactory


def _flow() -> tuple[Flow, str]:
    """Return a flow, and the uuid of the job that describes what it got."""
    odd = odd_values()
    last = describe(odd.output, odd.output["nan"])
    return Flow([odd, last]), last.uuid


def _here() -> Any:
    flow, uuid = _flow()
    store: Any = JobStore(MemoryStore())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_locally(flow, store=store, log=False, ensure_success=True)
    return store.get_output(uuid)


@pytest.mark.parametrize(("kind", "zipped"), [("orjson", True), ("msgspec_json", False), ("msgpack", False)])
def test_each_format(kind: str, zipped: bool, fresh_project: ProjectFactory) -> None:
    # Given a project whose outputs travel in a format
    fresh_project(remote_jobstore={"store": kind, "zip": zipped})
    flow, uuid = _flow()
    submit_flow(flow)

    # When a job returns odd values, and another one reads them
    runner = Runner()
    runner.run_all_jobs(max_seconds=100)

    # Then that one got what it gets from run_locally
    output = runner.job_controller.get_job_output(job_id=uuid)
    runner.cleanup()
    assert output == _here()
