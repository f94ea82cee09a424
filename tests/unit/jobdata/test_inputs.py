from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jobflow import Job, JobStore, OnMissing
from maggma.stores import MemoryStore
from monty.json import jsanitize

from jfr_mp.errors import ConfigError, UnresolvableReference
from jfr_mp.jobdata.inputs import input_document, resolve_references
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.model import JobDoc
from tests.support.jobs import add, stores_megabytes


@pytest.fixture
def jobstore() -> Iterator[JobStore]:
    store: Any = JobStore(MemoryStore())
    store.connect()
    yield store
    store.close()


def serialized(job: Job) -> dict[str, Any]:
    document: dict[str, Any] = jsanitize(job, strict=True)
    return document


def test_references_become_outputs(jobstore: JobStore) -> None:
    # Given an output and a job that uses it twice
    first = add(1, 2)
    first.run(jobstore)
    job = serialized(add(first.output, b=first.output))
    # When its references are resolved
    resolve_references(job, jobstore)
    # Then the values are there
    assert (list(job["function_args"]), job["function_kwargs"]) == ([3], {"b": 3})


def test_a_missing_output_is_an_error_unless_the_job_accepts_it(jobstore: JobStore) -> None:
    parent = add(1)
    strict, lenient = add(parent.output), add(parent.output)
    lenient.config.on_missing_references = OnMissing.NONE
    with pytest.raises(UnresolvableReference, match=parent.uuid):
        resolve_references(serialized(strict), jobstore)
    job = serialized(lenient)
    resolve_references(job, jobstore)
    assert list(job["function_args"]) == [None]


def test_a_job_that_resolves_by_itself_is_left_alone(jobstore: JobStore) -> None:
    job_object = add(add(1).output)
    job_object.config.resolve_references = False
    job = serialized(job_object)
    before = orjson.dumps(job)
    resolve_references(job, jobstore)
    assert orjson.dumps(job) == before


def test_an_additional_store_that_nobody_defined_is_named(jobstore: JobStore) -> None:
    with pytest.raises(ConfigError, match="additional stores data"):
        resolve_references(serialized(stores_megabytes(1)), jobstore)


def test_the_input_file_has_the_job_the_stores_and_the_document(jobstore: JobStore, tmp_path: Path) -> None:
    # Given a locked job with a field that somebody else added and the id that MongoDB gave it
    job = serialized(add(1))
    document = {
        "_id": object(),
        "job": job,
        "uuid": job["uuid"],
        "index": 1,
        "db_id": "7",
        "worker": "w",
        "state": "CHECKED_OUT",
        "lock_id": "somebody",
        "resources": {"nodes": 1},
        "note": "kept",
    }
    # When the input file is made
    content = orjson.loads(input_document(job, transfer_store(jobstore, tmp_path, None), JobDoc(**document)))
    # Then the peer's worker command finds what it looks for, unlocked
    assert list(content) == ["job", "store", "job_doc", "exact_values"]
    assert content["job"]["function"] == {"@module": "tests.support.jobs", "@callable": "add", "@bound": None}
    assert content["store"]["@class"] == "JobStore"
    doc = content["job_doc"]
    assert (doc["state"], doc["lock_id"], doc["lock_time"]) == ("CHECKED_OUT", None, None)
    assert (doc["resources"], doc["note"], doc["remote"]["step_attempts"]) == ({"nodes": 1}, "kept", 0)
    assert doc["created_on"]["string"].endswith("+00:00")
    assert not {"job", "_id"} & set(doc)
