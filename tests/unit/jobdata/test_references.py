"""References are resolved as jobflow does, without importing what only the worker has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jobflow import Flow, JobStore, OnMissing, OutputReference
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, jsanitize

from jfr_mp.errors import UnresolvableReference
from jfr_mp.jobdata.references import References

#: The output of the only job that has run: a dictionary with an object of a class that nobody here can import.
OUTPUT = {
    "list": [1, {"a": 2}],
    "object": {"@module": "only_the_worker_has_it", "@class": "Thing", "@version": None, "size": [3, 4]},
    "flow": jsanitize(Flow([], name="a name"), strict=True),
}


@pytest.fixture
def references() -> Iterator[References]:
    store: Any = JobStore(MemoryStore())
    store.connect()
    store.update({"uuid": "p", "index": 1, "output": OUTPUT, "name": "make", "metadata": {"db_id": "7"}})
    store.update({"uuid": "indirect", "index": 1, "output": [serialized(OutputReference("p")["list"][1])]})
    store.update({"uuid": "circle", "index": 1, "output": serialized(OutputReference("circle"))})
    yield References(store, OnMissing.ERROR)
    store.close()


def serialized(reference: OutputReference) -> dict[str, Any]:
    document: dict[str, Any] = jsanitize(reference, strict=True)
    return document


OUT = OutputReference("p")


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        (OUT["list"][1]["a"], 2),
        (OUT.list[-1].a, 2),
        (OutputReference("indirect")[0].a, 2),
        (OUT["object"], OUTPUT["object"]),
        # The class is unknown, so its serialized form takes its place.
        (OUT["object"]["size"][1], 4),
        (OUT["object"].size[1], 4),
        # A property of a class, which the serialized form does not have.
        (OUT["flow"].job_uuids, []),
    ],
    ids=repr,
)
def test_a_part_of_an_output(references: References, reference: OutputReference, value: object) -> None:
    resolved = references.resolve({"a": [serialized(reference)]})["a"][0]
    if value != OUTPUT["object"]:
        resolved = MontyDecoder().process_decoded(resolved)
    assert (list(resolved) if value == [] else resolved) == value


def test_no_class_is_decoded_by_the_runner(references: References) -> None:
    # When a reference goes through an object
    resolved = references.resolve(serialized(OUT["object"].size[1]))
    # Then the object is passed on as it is
    assert resolved == {
        "@module": "jfr_mp.jobdata.references",
        "@class": "PartOfObject",
        "@version": None,
        "value": OUTPUT["object"],
        "attributes": [["i", "object"], ["a", "size"], ["i", 1]],
        "begin": 1,
        "parent": "'make' (db_id 7, uuid p, index 1)",
    }


def test_a_foreign_worker_command_gets_the_value(references: References) -> None:
    decoding = References(references.jobstore, OnMissing.ERROR, decode=True)
    assert decoding.resolve(serialized(OUT["flow"].name)) == "a name"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (OUT["list"][2], ['output["list"][2]', "'make' (db_id 7", 'output["list"] is a list of length 2']),
        (OUT[-1], ["output[-1]", "output is a dict with the keys 'list', 'object', 'flow'"]),
        (OUT["list"][0]["a"], ['output["list"][0] is of type int', "not subscriptable"]),
        (OUT["flow"].size, ['output["flow"].size', 'output["flow"] is of type Flow']),
        (OutputReference("q")["a"], ['output["a"] of the parent job q', "no output of that job"]),
        (OutputReference("circle"), ["circle", "itself"]),
    ],
    ids=repr,
)
def test_a_reference_that_leads_to_nothing(references: References, reference: OutputReference, says: list[str]) -> None:
    with pytest.raises(UnresolvableReference) as caught:
        MontyDecoder().process_decoded(references.resolve([serialized(reference)]))
    assert all(text in str(caught.value) for text in says), caught.value


@pytest.mark.parametrize("on_missing", [OnMissing.NONE, OnMissing.PASS])
def test_a_missing_output_that_the_job_accepts(references: References, on_missing: OnMissing) -> None:
    missing = serialized(OutputReference("q"))
    lenient = References(references.jobstore, on_missing)
    assert lenient.resolve([missing]) == [None if on_missing is OnMissing.NONE else missing]
