"""Processing the output of a job: it is read without the packages that produced it, checked, and copied."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import HostError
from jfr_mp.jobdata import json_text
from jfr_mp.jobdata.files import OUT_FILENAME, QUEUE_ERR, QUEUE_OUT
from jfr_mp.jobdata.transfer_stores import additional_stores, store_paths
from jfr_mp.outcomes import Added, Completion
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.hosts import BaseHost

#: The maximum size in bytes of a file that is read into memory; its content must fit into a MongoDB document of 16 MB.
_IN_MEMORY = 128 * 2**20
#: The number of characters of queue.out and queue.err that are stored with a failed job.
_QUEUE_FILE_LIMIT = 3000
#: The number of last lines of queue.err that are shown if a job left no error message.
_LAST_LINES = 10


class _BadOutput(Exception):
    """The job did not end successfully, or its output is not valid; the message gives the reason."""


def read_output(directory: Path, *, store_files: Sequence[str] = (), run_dir: str | None = None) -> Completion:
    """Read the output files of a job and return how it ended.

    Parameters
    ----------
    directory
        The directory with the output files.
    store_files
        The names of the files that a successful job must leave, that of the main store first.
    run_dir
        The directory to name in messages to the user; None for `directory`.

    Returns
    -------
    Completion
        COMPLETED with the requests of the job, or FAILED with the reason: the traceback of the job, or the problem with
        its files together with the last lines of ``queue.err``.

    Raises
    ------
    HostError
        Permanent: the output is far too large for a MongoDB document.
    """
    output: dict[str, Any] = {}
    where = run_dir or str(directory)
    for name in (OUT_FILENAME, *store_files[:1]):
        _refuse_giants(directory / name, where)
    try:
        output = _parse(directory, where)
        response = _response(output, directory, where)
        for name in store_files:
            if not Path(directory, name).exists():
                what = f"The job ended without an error but left no file {name} in {where}."
                raise _BadOutput(_killed(directory, what))
    except _BadOutput as error:
        return Completion(
            JobState.FAILED,
            error=str(error),
            start_time=_time(output.get("start_time")),
            end_time=_time(output.get("end_time")),
            queue_out=_beginning(directory, QUEUE_OUT, where),
            queue_err=_beginning(directory, QUEUE_ERR, where),
        )
    return Completion(
        JobState.COMPLETED,
        start_time=_time(output.get("start_time")),
        end_time=_time(output.get("end_time")),
        stored_data=response.get("stored_data"),
        added=_added(response),
        stop_children=bool(response.get("stop_children")),
        stop_jobflow=bool(response.get("stop_jobflow")),
    )


def is_complete(host: BaseHost, run_dir: str) -> bool:
    """Return whether the output file of a job shows that the job has ended, successfully or not."""
    path = PurePosixPath(run_dir, OUT_FILENAME)
    try:
        if (host.size(path) or 0) > _IN_MEMORY:
            return False
        output = json_text.load(host.read(path))
    except (HostError, json.JSONDecodeError):
        return False
    return isinstance(output, dict) and "end_time" in output


def copy_outputs(jobstore: JobStore, transfer_store: JobStore, db_id: str) -> None:
    """Copy the data that a job stored on the worker to the JobStore.

    It is copied store by store, so that nothing is deserialized. Repeating this replaces the documents by equal ones.

    Parameters
    ----------
    jobstore
        The connected JobStore of the job's flow.
    transfer_store
        The files, as returned by `jfr_mp.jobdata.transfer_stores.transfer_store`.
    db_id
        The db_id of the job, which is added to the metadata of its output.

    Raises
    ------
    HostError
        Permanent: a file is damaged, or the main file does not contain exactly one document.
    """
    files: Any = transfer_store
    names = ", ".join(path.name for path in store_paths(transfer_store))
    try:
        files.connect()
    except Exception as error:  # each format raises its own error for a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise HostError(
            f"the output of the job in {names} is damaged; rerun the job ({reason})", permanent=True
        ) from error
    try:
        for name, part in additional_stores(transfer_store).items():
            for document in part.query():
                additional_stores(jobstore)[name].update(_without_id(document))
        documents = list(transfer_store.docs_store.query())
        if len(documents) != 1:
            raise HostError(
                f"{store_paths(transfer_store)[0].name} contains {len(documents)} documents instead of one: the file "
                "is damaged, or the job ended before it stored its output; rerun the job",
                permanent=True,
            )
        output = _without_id(documents[0])
        output["metadata"].setdefault("db_id", db_id)
        jobstore.docs_store.update(output, key=["uuid", "index"])
    finally:
        files.close()


def _refuse_giants(path: Path, where: str) -> None:
    """Raise an error for a file that is too large to be read into memory and stored."""
    size = path.stat().st_size if path.exists() else 0
    if size > _IN_MEMORY:
        raise HostError(
            f"{path.name} in {where} has {size / 2**20:.0f} MB, but MongoDB limits a document to 16 MB: store large "
            "data in an additional store (see @job(data=...) in jobflow), or return less data",
            permanent=True,
        )


def _parse(directory: Path, where: str) -> dict[str, Any]:
    """Read the output file."""
    try:
        output = json_text.load(Path(directory, OUT_FILENAME).read_bytes())
    except FileNotFoundError:
        what = (
            f"The job left no {OUT_FILENAME} in {where}: it was cancelled before it started, or its command did not "
            "start or was killed early."
        )
        raise _BadOutput(_killed(directory, what)) from None
    except json.JSONDecodeError as error:
        raise _BadOutput(
            _killed(directory, f"{OUT_FILENAME} in {where} is damaged or incomplete JSON: {error}.")
        ) from None
    if not isinstance(output, dict):
        raise _BadOutput(f"{OUT_FILENAME} in {where} contains a {type(output).__name__} instead of an object.")
    return output


def _response(output: Mapping[str, Any], directory: Path, where: str) -> Mapping[str, Any]:
    """Return the response of the job."""
    if output.get("error"):
        raise _BadOutput(str(output["error"]))
    response = output.get("response")
    if not isinstance(response, Mapping):
        what = f"{OUT_FILENAME} in {where} shows that the job started, but not how it ended: it was probably killed."
        raise _BadOutput(_killed(directory, what))
    return response


def _added(response: Mapping[str, Any]) -> tuple[tuple[Added, Mapping[str, Any]], ...]:
    """Return the flows that the job returned, in the order of `Added`, in which they have to be added."""
    return tuple((kind, response[kind]) for kind in Added if response.get(kind) is not None)


def _killed(directory: Path, what: str) -> str:
    """Return a message with the last lines of queue.err, which usually contain the actual reason."""
    try:
        lines = Path(directory, QUEUE_ERR).read_text(errors="replace").strip().splitlines()
    except OSError:
        return what
    return "\n".join([what, f"The last lines of {QUEUE_ERR}:", *lines[-_LAST_LINES:]]) if lines else what


def _beginning(directory: Path, name: str, where: str) -> str | None:
    """Return the beginning of a text file, or None if it cannot be read."""
    try:
        with Path(directory, name).open(errors="replace") as file:
            text = file.read(_QUEUE_FILE_LIMIT + 1)
    except OSError:
        return None
    if len(text) > _QUEUE_FILE_LIMIT:
        return f"{text[:_QUEUE_FILE_LIMIT]} ...\nThis is the beginning; the rest is in {PurePosixPath(where, name)}"
    return text


def _time(value: Any) -> datetime | None:
    """Return a time in monty's serialized form, ``{"@class": "datetime", "string": ...}``, as a datetime."""
    text = value.get("string") if isinstance(value, Mapping) else value
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without the `_id` that a store assigned; the next store assigns its own."""
    return {key: value for key, value in document.items() if key != "_id"}
