from __future__ import annotations

import gzip
import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from jfr_mp.errors import HostError
from jfr_mp.hosts.local import LocalHost
from jfr_mp.jobdata.outputs import copy_outputs, is_complete, read_output
from jfr_mp.jobdata.transfer_stores import store_paths, transfer_store
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Added
from jfr_mp.states import JobState

JOB = JobDoc(job={}, uuid="u", index=1, db_id="42", worker="w", state=JobState.DOWNLOADED)
START = {"@module": "datetime", "@class": "datetime", "string": "2026-11-22 10:00:00.250000+00:00"}
END = {"@module": "datetime", "@class": "datetime", "string": "2026-11-22 10:00:01.500000"}


def finished(**response: Any) -> dict[str, Any]:
    return {"response": {"output": None, **response}, "error": None, "start_time": START, "end_time": END}


def write(directory: Path, output: Any, queue_err: str | None = None) -> None:
    text = output if isinstance(output, str) else json.dumps(output)
    (directory / "jfremote_out.json").write_text(text)
    if queue_err is not None:
        (directory / "queue.err").write_text(queue_err)


def test_a_job_that_ended_well(tmp_path: Path) -> None:
    # Given the output of a job that asks for everything
    flows = {kind.value: {"@class": "Flow", "name": kind.value} for kind in Added}
    write(tmp_path, finished(**flows, stored_data={"x": 1}, stop_children=True, stop_jobflow=False))
    (tmp_path / "remote_job_data.json").touch()
    # When it is read
    completion = read_output(tmp_path, store_files=["remote_job_data.json"])
    # Then all of it is there, times in UTC
    assert completion.state is JobState.COMPLETED
    assert [(kind.value, flow["name"]) for kind, flow in completion.added] == [
        ("replace", "replace"),
        ("addition", "addition"),
        ("detour", "detour"),
    ]
    assert (completion.stored_data, completion.stop_children, completion.stop_jobflow) == ({"x": 1}, True, False)
    assert completion.start_time == datetime(2026, 11, 22, 10, 0, 0, 250000, tzinfo=UTC)
    assert completion.end_time == datetime(2026, 11, 22, 10, 0, 1, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (None, "left no jfremote_out.json"),
        ('{"response": {"outp', "damaged or incomplete JSON"),
        ("", "damaged or incomplete JSON"),
        ("[1]", "contains a list instead of an object"),
        ({"start_time": START}, "probably killed"),
        ({"response": None, "error": "Traceback: boom", "start_time": START, "end_time": END}, "Traceback: boom"),
        (finished(), "left no file remote_job_data.json"),
    ],
)
def test_a_job_that_did_not(tmp_path: Path, output: Any, error: str) -> None:
    # Given an output that is not that of a job that ended well
    if output is not None:
        write(tmp_path, output)
    (tmp_path / "queue.out").write_text("o" * 4000)
    (tmp_path / "queue.err").write_text("first line\n" + "noise\n" * 50 + "bash: jf: command not found\n")
    # When it is read
    completion = read_output(tmp_path, store_files=["remote_job_data.json"])
    # Then one text says what is wrong, and why where the job itself could not
    assert completion.state is JobState.FAILED
    assert completion.error is not None
    assert error in completion.error
    if "left no" in error or "killed" in error or "damaged" in error:
        assert completion.error.endswith("bash: jf: command not found")
        assert "first line" not in completion.error
    assert completion.queue_out is not None
    assert 3000 < len(completion.queue_out) < 3000 + len(str(tmp_path)) + 80
    assert completion.queue_err is not None
    assert completion.queue_err.startswith("first line")


def test_no_files_at_all_are_one_error(tmp_path: Path) -> None:
    completion = read_output(tmp_path / "nowhere")
    assert completion.error is not None
    assert str(tmp_path / "nowhere") in completion.error
    assert (completion.queue_out, completion.queue_err, completion.start_time) == (None, None, None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [(None, False), ("{", False), ("[]", False), ({"start_time": START}, False), (finished(), True)],
)
def test_completeness(tmp_path: Path, output: Any, expected: bool) -> None:
    if output is not None:
        write(tmp_path, output)
    assert is_complete(LocalHost(), str(tmp_path)) is expected


@pytest.fixture
def jobstore() -> Any:
    store: Any = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


def stored(
    directory: Path, jobstore: Any, *documents: dict[str, Any], config: Mapping[str, Any] | None = None
) -> JobStore:
    """Write documents as a worker does."""
    config = config or {"store": "orjson"}
    store: Any = transfer_store(jobstore, directory, config)
    store.connect()
    store.docs_store.update(list(documents))
    store.additional_stores["data"].update({"blob_uuid": "b", "data": [1], "job_uuid": "u", "job_index": 1})
    store.close()
    return transfer_store(jobstore, directory, config)


def test_outputs_are_copied_store_by_store_and_again_without_harm(tmp_path: Path, jobstore: Any) -> None:
    # Given what a job stored
    document = {"uuid": "u", "index": 1, "output": {"@class": "NobodyHasIt", "@module": "nowhere"}, "metadata": {}}
    files = stored(tmp_path, jobstore, document)
    # When it is copied twice
    copy_outputs(jobstore, files, JOB)
    copy_outputs(jobstore, files, JOB)
    # Then it is there once, as it was written, with the id of the job
    (found,) = jobstore.docs_store.query()
    assert (found["output"], found["metadata"]) == (document["output"], {"db_id": "42"})
    assert jobstore.additional_stores["data"].count() == 1


@pytest.mark.parametrize("store", ["maggma_json", "orjson", "msgspec_json", "msgpack"])
def test_half_a_file_is_no_empty_file(tmp_path: Path, jobstore: Any, store: str) -> None:
    # Given an additional store that was cut off, beside a main one that was not
    config = {"store": store}
    files = transfer_store(jobstore, tmp_path, config)
    main, additional = store_paths(files)
    stored(tmp_path, jobstore, {"uuid": "u", "index": 1, "metadata": {}}, config=config)
    additional.write_bytes(additional.read_bytes()[:-9])
    # When the output is copied, then that is told, and told to be final
    with pytest.raises(HostError, match=f"{main.name}, {additional.name} is damaged; rerun the job") as caught:
        copy_outputs(jobstore, files, JOB)
    assert caught.value.permanent


@pytest.mark.parametrize("name", ["jfremote_out.json", "remote_job_data.json"])
def test_a_file_that_fills_the_memory_is_left_alone(tmp_path: Path, name: str) -> None:
    # Given a file of a gigabyte
    write(tmp_path, finished())
    with (tmp_path / name).open("ab") as file:
        file.truncate(2**30)
    # Then it is not read
    with pytest.raises(HostError, match=f"{name} in /far has 1024 MB, .* 16 MB: .* additional store") as caught:
        read_output(tmp_path, store_files=["remote_job_data.json"], run_dir="/far")
    assert caught.value.permanent
    if name == "jfremote_out.json":
        assert not is_complete(LocalHost(), str(tmp_path))


@pytest.mark.parametrize("count", [0, 2])
def test_a_store_without_its_one_document_is_not_tried_again(tmp_path: Path, jobstore: Any, count: int) -> None:
    documents = [{"uuid": "u", "index": index, "metadata": {}} for index in range(count)]
    with pytest.raises(HostError, match=f"contains {count} documents") as caught:
        copy_outputs(jobstore, stored(tmp_path, jobstore, *documents), JOB)
    assert caught.value.permanent


NESTED = "[" * 150 + "]" * 150


@pytest.mark.parametrize("name", ["jfremote_out.json", "remote_job_data.json"])
@pytest.mark.parametrize("kind", ["fifo", "link", "device", "long link", "directory"])
def test_only_regular_files_are_outputs(tmp_path: Path, name: str, kind: str) -> None:
    # Given a job that ended well, and something else in the place of one of its files
    write(tmp_path, finished())
    (tmp_path / "remote_job_data.json").touch()
    (tmp_path / name).rename(tmp_path / "other")
    match kind:
        case "fifo":
            os.mkfifo(tmp_path / name)
        case "link":
            (tmp_path / name).symlink_to(tmp_path / "other")
        case "device":
            (tmp_path / name).symlink_to("/dev/zero")
        case "long link":
            # Whoever followed it would meet an error that a repetition does not cure.
            (tmp_path / name).symlink_to("x" * 300)
        case "directory":
            (tmp_path / name).mkdir()
    # When it is read, then the job is FAILED at once, with the file and what it is
    completion = read_output(tmp_path, store_files=["remote_job_data.json"], run_dir="/far")
    assert completion.state is JobState.FAILED
    what = {"fifo": "a FIFO", "directory": "a directory"}.get(kind, "a symbolic link")
    assert f"{name} in /far cannot be read: it is {what}" in str(completion.error)
    assert is_complete(LocalHost(), str(tmp_path)) is (name != "jfremote_out.json")


@pytest.mark.parametrize("name", ["jfremote_out.json", "remote_job_data.json"])
def test_a_file_that_must_not_be_read_is_one_failure(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that has forbidden to read one of its files
    write(tmp_path, finished())
    (tmp_path / "remote_job_data.json").touch()
    (tmp_path / name).chmod(0)
    # Root can read it all the same, and no other user can pass the directories above.
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        # When it is read
        completion = read_output(Path(), store_files=["remote_job_data.json"], run_dir="/far")
    finally:
        os.seteuid(user)
    # Then the job is FAILED at once
    assert completion.state is JobState.FAILED
    assert f"{name} in /far cannot be read: Permission denied" in str(completion.error)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (finished(stored_data=json.loads(NESTED)), "nested more than 100 levels"),
        ('{"response": ' + "[" * 5000 + "]" * 5000 + "}", "nested more than 100 levels"),
        ('{"response": [' + "1," * 8_000_001 + "1]}", "8000003 values"),
        ({**finished(), "end_time": "tomorrow"}, "bad start_time or end_time"),
        ({**finished(), "start_time": {"@module": "os", "@class": "system", "string": 7}}, "'7' is not a time"),
    ],
    ids=["nested", "deeper than the parser", "many values", "no time", "time of another type"],
)
def test_an_output_that_cannot_be_stored_is_one_failure(tmp_path: Path, output: Any, says: str) -> None:
    write(tmp_path, output)
    completion = read_output(tmp_path)
    assert completion.state is JobState.FAILED
    assert says in str(completion.error)


def test_texts_of_a_job_are_read_in_constant_memory(tmp_path: Path) -> None:
    # Given an error text and a log that are larger than what is kept, and a FIFO
    write(tmp_path, {"error": "begin" + "x" * 10_000_000 + "end"})
    with (tmp_path / "queue.err").open("wb") as file:
        file.truncate(10 * 2**30)
    os.mkfifo(tmp_path / "queue.out")
    # When they are read
    completion = read_output(tmp_path)
    # Then the beginning and the end are there
    assert completion.error is not None
    assert (completion.error[:5], completion.error[-3:], len(completion.error) < 300_000) == ("begin", "end", True)
    assert completion.queue_out is None
    assert len(completion.queue_err or "") < 4000


@pytest.mark.parametrize(
    ("main", "blob", "says"),
    [
        ({"uuid": "other"}, {}, "contains a document of job 'other'"),
        ({"index": 2}, {}, "index '2'"),
        ({}, {"job_uuid": "other"}, "contains a document of job 'other'"),
        ({}, {"blob_uuid": "taken"}, "contains a document of job 'owner'"),
        ({}, {"blob_uuid": {"$ne": 1}}, "without a blob_uuid"),
        ({"output": json.loads(NESTED)}, {}, "nested more than 100 levels"),
    ],
    ids=["uuid", "index", "uuid of data", "data of another job", "query", "nested"],
)
def test_a_job_cannot_replace_the_output_of_another(
    tmp_path: Path, jobstore: Any, main: dict[str, Any], blob: dict[str, Any], says: str
) -> None:
    # Given the outputs of other jobs
    others = [{"uuid": "other", "index": 1, "output": "good"}, {"uuid": "u", "index": 2, "output": "good"}]
    jobstore.docs_store.update(others, key=["uuid", "index"])
    data = {"blob_uuid": "taken", "job_uuid": "owner", "job_index": 1, "data": "good"}
    jobstore.additional_stores["data"].update(data, key="blob_uuid")
    # When a job hands in a document in their place
    files: Any = transfer_store(jobstore, tmp_path, {"store": "orjson"})
    files.connect()
    files.docs_store.update({"uuid": "u", "index": 1, "output": "bad", "metadata": {}, **main})
    files.additional_stores["data"].update({"blob_uuid": "b", "job_uuid": "u", "job_index": 1, "data": "bad", **blob})
    files.close()
    with pytest.raises(HostError, match=re.escape(says)) as caught:
        copy_outputs(jobstore, transfer_store(jobstore, tmp_path, {"store": "orjson"}), JOB)
    # Then that is refused for good, and theirs are what they were
    assert caught.value.permanent
    assert [found["output"] for found in jobstore.docs_store.query({"output": "bad"})] == []
    assert [found["data"] for found in jobstore.additional_stores["data"].query({"job_uuid": "owner"})] == ["good"]


@pytest.mark.parametrize("store", ["maggma_json", "orjson"])
def test_reading_what_a_job_stored_imports_nothing(tmp_path: Path, jobstore: Any, store: str) -> None:
    # Given a document whose time names a class
    config = {"store": store}
    planted = {"@module": "antigravity", "@class": "Planted", "string": "2026-11-22 10:00:00"}
    files = transfer_store(jobstore, tmp_path, config)
    for path in store_paths(files):
        path.write_text("[]")
    document = {"uuid": "u", "index": 1, "output": planted, "metadata": {}, "last_updated": planted}
    store_paths(files)[0].write_text(json.dumps([document]))
    # When it is copied, then that class is not imported
    copy_outputs(jobstore, files, JOB)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("store", ["maggma_json", "orjson"])
def test_a_compressed_file_is_measured_as_it_is_unpacked(tmp_path: Path, jobstore: Any, store: str) -> None:
    # Given a file of some kilobytes that unpacks to more than is read
    config = {"store": store, "zip": True}
    files = transfer_store(jobstore, tmp_path, config)
    main, additional = store_paths(files)
    with gzip.open(main, "wb", compresslevel=1) as packed:
        for _ in range(2 * 8 + 1):
            packed.write(bytes(2**23))
    additional.write_bytes(gzip.compress(b"[]"))
    with pytest.raises(HostError, match="at most 128 MB are read") as caught:
        copy_outputs(jobstore, files, JOB)
    assert caught.value.permanent
