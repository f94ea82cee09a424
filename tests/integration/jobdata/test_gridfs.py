"""Outputs in GridFS, the additional store that `jfr-mp init` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monty.json import jsanitize

from jfr_mp.config import ConfigManager
from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.inputs import resolve_references
from jfr_mp.jobdata.jobstores import JobStores
from jfr_mp.jobdata.outputs import copy_outputs
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.model import JobRecord
from jfr_mp.states import JobState
from tests.support.jobs import describe, stores_megabytes
from tests.support.projects import ProjectFactory


def jobstores(fresh_project: ProjectFactory, **gridfs: Any) -> JobStores:
    """Return the JobStores of a project whose large outputs are in GridFS."""
    project = fresh_project()
    store = project.server.store(project.db.name, "outputs")
    data = {**store, "type": "GridFSStore", "collection_name": "outputs_data", **gridfs}
    project.rewrite(jobstore={"docs_store": store, "additional_stores": {"data": data}})
    return JobStores(ConfigManager().get_project())


@pytest.mark.parametrize(
    "gridfs", [{}, {"auth_source": None, "mongoclient_kwargs": {"authSource": "admin", "appname": "a"}}]
)
def test_large_outputs(fresh_project: ProjectFactory, tmp_path: Path, gridfs: dict[str, Any]) -> None:
    # Given a job that ran on a worker and stored a large output
    stores, job = jobstores(fresh_project, **gridfs), stores_megabytes(17)
    record = JobRecord(uuid=job.uuid, index=1, db_id="1", worker="local", state=JobState.DOWNLOADED)
    with stores.named() as jobstore:
        files: Any = transfer_store(jobstore, tmp_path, None)
        files.connect()
        job.run(files)
        files.close()
        # When its output is copied, and copied again after a crash
        for _ in range(2):
            copy_outputs(jobstore, transfer_store(jobstore, tmp_path, None), record)
        # Then it is there once, and a child gets it
        assert jobstore.additional_stores["data"].count() == 1
        child = jsanitize(describe(job.output["blob"]), strict=True)
        resolve_references(child, jobstore)
        assert child["function_args"] == ["x" * 17_000_000]
    # And the connection stays open for the next job
    with stores.named() as again:
        assert again is jobstore
        # And asks its server on this machine rarely whether it is there
        parts: list[Any] = [again.docs_store, again.additional_stores["data"]]
        assert {part.mongoclient_kwargs["heartbeatFrequencyMS"] for part in parts} == {300_000}
    stores.close()


# pymongo's client complains at its end that it was never made.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_arguments_that_pymongo_refuses(fresh_project: ProjectFactory) -> None:
    stores = jobstores(fresh_project, mongoclient_kwargs={"host": "elsewhere"})
    with pytest.raises(ConfigError, match=r"jobstore cannot be opened: TypeError: .*multiple values.*'host'"):
        stores.warm_up()
