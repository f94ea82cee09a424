"""The serialized shape is pinned here: the peer's worker command reads it."""

from __future__ import annotations

import gzip
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from monty.json import jsanitize

from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.transfer_stores import load_transfer_store, store_paths, transfer_store, transfer_store_names

PEER_CLASS = {"@module": "jobflow_remote.remote.data", "@class": "MinimalORJSONStore"}

#: remote_jobstore, the class that the peer opens, the ending of the files
FORMATS: list[tuple[dict[str, Any] | None, str, str]] = [
    (None, "StdJSONStore", "json"),
    ({"store": "maggma_json", "zip": True}, "StdJSONStore", "json.gz"),
    ({"store": "orjson"}, "MinimalORJSONStore", "json"),
    ({"store": "orjson", "zip": True}, "MinimalORJSONStore", "json.gz"),
    ({"store": "msgspec_json", "zip": False}, "MinimalMsgspecJSONStore", "json"),
    ({"store": "msgpack"}, "MinimalMsgpackStore", "msgpack"),
    ({"store": "msgpack", "zip": True}, "MinimalMsgpackStore", "msgpack.gz"),
    ({"store": PEER_CLASS, "extension": "data"}, "MinimalORJSONStore", "data"),
]
formats = pytest.mark.parametrize(("config", "class_name", "ending"), FORMATS)


@pytest.fixture
def jobstore() -> JobStore:
    return JobStore(MemoryStore(), additional_stores={"big": MemoryStore()}, save={"big": "data"})


def test_a_process_that_makes_many_stores_does_not_grow(jobstore: JobStore, tmp_path: Path) -> None:
    # Given the handlers of all loggers after the first store
    logs = [logging.getLogger(name) for name in ("JobStore", "StdJSONStore")]
    transfer_store(jobstore, tmp_path, None)
    before = [len(log.handlers) for log in logs]
    # When more stores are made, then there are no more of them
    for _ in range(10):
        transfer_store(jobstore, tmp_path, None)
    assert [len(log.handlers) for log in logs] == before
    assert all(before), "a logger without any would print the messages of the store"


@formats
def test_the_serialized_store_is_the_peers(
    jobstore: JobStore, tmp_path: Path, config: dict[str, Any] | None, class_name: str, ending: str
) -> None:
    # When a transfer store is serialized
    document = jsanitize(transfer_store(jobstore, tmp_path, config), strict=True)
    # Then it names the peer's module and class, and the files that the peer would name
    argument = "paths" if class_name == "StdJSONStore" else "path"
    main: Any = str(tmp_path / f"remote_job_data.{ending}")
    assert document["docs_store"] == {
        "@module": "jobflow_remote.remote.data",
        "@class": class_name,
        "@version": "1.0.1",
        argument: [main] if argument == "paths" else main,
    }
    assert document["additional_stores"]["big"]["@class"] == class_name
    assert (document["save"], document["load"]) == ({"big": "data"}, False)
    assert transfer_store_names(jobstore, config) == [f"remote_job_data.{ending}", f"additional_store_big.{ending}"]


@formats
def test_what_is_written_is_read_back(
    jobstore: JobStore, tmp_path: Path, config: dict[str, Any] | None, class_name: str, ending: str
) -> None:
    # Given a store that was opened from its serialized form, as the worker does
    document = jsanitize(transfer_store(jobstore, tmp_path, config), strict=True)
    written: Any = load_transfer_store(document)
    written.connect()
    written.docs_store.update({"uuid": "u", "index": 1, "output": [1.5, None, "é"], "_id": 7}, key=["uuid", "index"])
    written.close()
    # When another one opens the same files
    read: Any = load_transfer_store(document)
    read.connect()
    # Then it finds the document, and nothing in the other file
    (found,) = read.docs_store.query()
    found.pop("_id", None)
    assert found == {"uuid": "u", "index": 1, "output": [1.5, None, "é"]}
    assert list(read.additional_stores["big"].query()) == []
    read.close()
    assert [path.name for path in store_paths(read)] == transfer_store_names(jobstore, config)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(transfer_store_names(jobstore, config))


def test_a_json_file_holds_an_array_of_documents(jobstore: JobStore, tmp_path: Path) -> None:
    store: Any = transfer_store(jobstore, tmp_path, {"store": "orjson", "zip": True}).docs_store
    store.connect()
    store.update({"x": np.float64(0.5)})
    store.close()
    assert orjson.loads(gzip.decompress((tmp_path / "remote_job_data.json.gz").read_bytes())) == [{"x": 0.5}]


def test_messagepack_keeps_times(jobstore: JobStore, tmp_path: Path) -> None:
    time = datetime(2024, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001 - as the documents of jobs have them
    store: Any = transfer_store(jobstore, tmp_path, {"store": "msgpack"}).docs_store
    store.connect()
    store.update({"t": time})
    store.close()
    store.connect()
    assert list(store.query()) == [{"t": time}]


def test_a_store_that_was_only_read_is_not_written_again(jobstore: JobStore, tmp_path: Path) -> None:
    path = tmp_path / "remote_job_data.json"
    path.write_text("[ ]")
    store: Any = transfer_store(jobstore, tmp_path, {"store": "orjson"}).docs_store
    store.connect()
    store.close()
    assert path.read_text() == "[ ]"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"store": "pickle", "extension": "pkl"}, "unknown format 'pickle'; allowed: maggma_json"),
        ({"store": "pickle"}, "set 'extension'"),
        ({"store": PEER_CLASS}, "set 'extension'"),
        ({"store": {"@module": "nowhere", "@class": "Store"}, "extension": "x"}, "nowhere.Store cannot be opened"),
    ],
)
def test_an_unusable_format_is_named(jobstore: JobStore, tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transfer_store(jobstore, tmp_path, config)
