"""Processing the output of a job: it is read without the packages that produced it, checked, and copied."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import HostError
from jfr_mp.jobdata.files import OUT_FILENAME, QUEUE_ERR, QUEUE_OUT
from jfr_mp.jobdata.transfer_stores import additional_stores, store_limits, store_paths
from jfr_mp.jobdata.untrusted import (
    DOCUMENT_LIMIT,
    NotRegular,
    TooLarge,
    parse_json,
    parse_time,
    read_excerpt,
    read_store,
    read_untrusted,
    require_few_levels,
    require_few_values,
    require_store_file,
)
from jfr_mp.outcomes import Added, Completion
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store

    from jfr_mp.hosts import BaseHost
    from jfr_mp.model import JobRecord

#: The number of characters of queue.out and queue.err that are stored with a failed job.
_QUEUE_FILE_LIMIT = 3000
#: The number of last lines of queue.err that are shown if a job left no error message.
_LAST_LINES = 10
#: The number of characters at the beginning and the end of the error of a job that are stored.
_ERROR_HALF = 100_000


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
    start_time = end_time = None
    where = run_dir or str(directory)
    for name in (OUT_FILENAME, *store_files[:1]):
        _refuse_giants(directory / name, where)
    try:
        output = _parse(directory, where)
        start_time, end_time = _times(output, where)
        response = _response(output, directory, where)
        for name, limit in store_limits(store_files).items():
            _require_store_file(directory, name, limit, where)
    except _BadOutput as error:
        return Completion(
            JobState.FAILED,
            error=str(error),
            start_time=start_time,
            end_time=end_time,
            **queue_files(directory, where),
        )
    return completion_of(response, start_time, end_time)


def completion_of(
    response: Mapping[str, Any], start_time: datetime | None = None, end_time: datetime | None = None
) -> Completion:
    """Return the completion of a successful job with a serialized response."""
    return Completion(
        JobState.COMPLETED,
        start_time=start_time,
        end_time=end_time,
        stored_data=response.get("stored_data"),
        added=_added(response),
        stop_children=bool(response.get("stop_children")),
        stop_jobflow=bool(response.get("stop_jobflow")),
    )


def queue_files(directory: Path, run_dir: str | None = None) -> dict[str, Any]:
    """Return the beginning of the scheduler's output files, as the fields of a `Completion`; None if there is none."""
    where = run_dir or str(directory)
    return {
        "queue_out": _beginning(directory, QUEUE_OUT, where),
        "queue_err": _beginning(directory, QUEUE_ERR, where),
    }


def is_complete(host: BaseHost, run_dir: str) -> bool:
    """Return whether the output file of a job shows that the job has ended, successfully or not."""
    try:
        output = parse_json(host.read(PurePosixPath(run_dir, OUT_FILENAME), limit=DOCUMENT_LIMIT))
    except (HostError, ValueError, TooLarge):
        return False
    return isinstance(output, dict) and "end_time" in output


def copy_outputs(jobstore: JobStore, transfer_store: JobStore, job: JobRecord) -> None:
    """Copy the data that a job stored on the worker to the JobStore.

    It is copied store by store, so that nothing is deserialized. Repeating this replaces the documents by equal ones.

    Parameters
    ----------
    jobstore
        The connected JobStore of the job's flow.
    transfer_store
        The files, as returned by `jfr_mp.jobdata.transfer_stores.transfer_store`.
    job
        The job. Its db_id is added to the metadata of its output, and the documents must be its own.

    Raises
    ------
    HostError
        Permanent: a file is damaged, the main file does not contain exactly one document, or a document belongs to
        another job.
    """
    from jfr_mp.jobdata.file_formats import read_documents

    main, *_ = paths = store_paths(transfer_store)
    names = ", ".join(path.name for path in paths)
    try:
        for path, limit in store_limits(paths).items():
            require_store_file(path, limit)
        if ".json" in main.suffixes:
            require_few_values(read_store(main, DOCUMENT_LIMIT))
        blobs = {name: read_documents(part) for name, part in additional_stores(transfer_store).items()}
        documents = read_documents(transfer_store.docs_store)
    except Exception as error:  # each format raises its own error for a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise HostError(
            f"the output of the job in {names} is damaged; rerun the job ({reason})", permanent=True
        ) from error
    for name, part in blobs.items():
        target = additional_stores(jobstore)[name]
        for document in part:
            _require_own(document, job, name, "job_uuid", "job_index")
            _require_free(document, job, name, target)
            target.update(_without_id(document))
    if len(documents) != 1:
        raise HostError(
            f"{main.name} contains {len(documents)} documents instead of one: the file is damaged, or the job ended "
            "before it stored its output; rerun the job",
            permanent=True,
        )
    output = _without_id(documents[0])
    _require_own(output, job, main.name, "uuid", "index")
    _require_levels(output, main.name)
    if not isinstance(output.get("metadata"), dict):
        output["metadata"] = {}
    output["metadata"].setdefault("db_id", job.db_id)
    jobstore.docs_store.update(output, key=["uuid", "index"])


def _require_own(document: Mapping[str, Any], job: JobRecord, name: str, uuid: str, index: str) -> None:
    """Raise an error for a document of another job: it would replace the output of that job."""
    found = (document.get(uuid), document.get(index))
    if found != (job.uuid, job.index):
        raise HostError(
            f"{name} contains a document of job {str(found[0])[:100]!r}, index {str(found[1])[:20]!r}, instead of this "
            f"job ({job.uuid}, index {job.index}): nothing of it was stored; find out what wrote the file, then rerun "
            "the job",
            permanent=True,
        )


def _require_free(document: Mapping[str, Any], job: JobRecord, name: str, target: Store) -> None:
    """Raise an error for data whose identity is that of the data of another job, which it would replace."""
    blob = document.get("blob_uuid")
    if not isinstance(blob, str):
        raise HostError(f"additional store {name}: data without a blob_uuid; rerun the job", permanent=True)
    for other in target.query({"blob_uuid": blob}, properties=["blob_uuid", "job_uuid", "job_index"]):
        _require_own(other, job, f"additional store {name}: blob {blob[:100]}", "job_uuid", "job_index")


def _require_levels(document: Mapping[str, Any], name: str) -> None:
    try:
        require_few_levels(document)
    except TooLarge as error:
        raise HostError(f"{name} cannot be stored: {error.strerror}; return less nested data", permanent=True) from None


def _require_store_file(directory: Path, name: str, limit: int, where: str) -> None:
    """Raise an error unless a job left a regular file for a store."""
    try:
        require_store_file(Path(directory, name), limit)
    except FileNotFoundError:
        what = f"The job ended without an error but left no file {name} in {where}."
        raise _BadOutput(_killed(directory, what)) from None
    except (NotRegular, TooLarge, PermissionError) as error:
        raise _BadOutput(f"{name} in {where} cannot be read: {error.strerror}.") from None


def _refuse_giants(path: Path, where: str) -> None:
    """Raise an error for a file that is too large to be read into memory and stored."""
    try:
        # Not of what a link leads to.
        status = path.lstat()
    except OSError:
        # The reader of the file says what is wrong with it.
        return
    size = status.st_size
    if stat.S_ISREG(status.st_mode) and size > DOCUMENT_LIMIT:
        raise HostError(
            f"{path.name} in {where} has {size / 2**20:.0f} MB, but MongoDB limits a document to 16 MB: store large "
            "data in an additional store (see @job(data=...) in jobflow), or return less data",
            permanent=True,
        )


def _parse(directory: Path, where: str) -> dict[str, Any]:
    """Read the output file."""
    try:
        output = parse_json(read_untrusted(Path(directory, OUT_FILENAME), DOCUMENT_LIMIT))
    except FileNotFoundError:
        what = (
            f"The job left no {OUT_FILENAME} in {where}: it was cancelled before it started, or its command did not "
            "start or was killed early."
        )
        raise _BadOutput(_killed(directory, what)) from None
    except (NotRegular, TooLarge, PermissionError) as error:
        raise _BadOutput(f"{OUT_FILENAME} in {where} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise _BadOutput(
            _killed(directory, f"{OUT_FILENAME} in {where} is damaged or incomplete JSON: {error}.")
        ) from None
    if not isinstance(output, dict):
        raise _BadOutput(f"{OUT_FILENAME} in {where} contains a {type(output).__name__} instead of an object.")
    return output


def _response(output: Mapping[str, Any], directory: Path, where: str) -> Mapping[str, Any]:
    """Return the response of the job."""
    if output.get("error"):
        # The reason that a job gives has no use beyond some pages, and has to fit into its document.
        raise _BadOutput(_shortened(str(output["error"])))
    response = output.get("response")
    if not isinstance(response, Mapping):
        what = f"{OUT_FILENAME} in {where} shows that the job started, but not how it ended: it was probably killed."
        raise _BadOutput(_killed(directory, what))
    return response


def _added(response: Mapping[str, Any]) -> tuple[tuple[Added, Mapping[str, Any]], ...]:
    """Return the flows that the job returned, in the order of `Added`, in which they have to be added."""
    return tuple((kind, response[kind]) for kind in Added if response.get(kind) is not None)


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * _ERROR_HALF else f"{text[:_ERROR_HALF]}\n...\n{text[-_ERROR_HALF:]}"


def _killed(directory: Path, what: str) -> str:
    """Return a message with the last lines of queue.err, which usually contain the actual reason."""
    try:
        lines = _excerpt(directory, QUEUE_ERR).strip().splitlines()
    except OSError:
        return what
    return "\n".join([what, f"The last lines of {QUEUE_ERR}:", *lines[-_LAST_LINES:]]) if lines else what


def _beginning(directory: Path, name: str, where: str) -> str | None:
    """Return the beginning of a text file, or None if it cannot be read."""
    try:
        text = _excerpt(directory, name)
    except OSError:
        return None
    if len(text) > _QUEUE_FILE_LIMIT:
        return f"{text[:_QUEUE_FILE_LIMIT]} ...\nThis is the beginning; the rest is in {PurePosixPath(where, name)}"
    return text


def _excerpt(directory: Path, name: str) -> str:
    return read_excerpt(Path(directory, name)).decode(errors="replace")


def _times(output: Mapping[str, Any], where: str) -> tuple[datetime | None, datetime | None]:
    """Return when the job started and ended."""
    try:
        return parse_time(output.get("start_time")), parse_time(output.get("end_time"))
    except ValueError as error:
        raise _BadOutput(f"{OUT_FILENAME} in {where} contains a bad start_time or end_time: {error}.") from None


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without the `_id` that a store assigned; the next store assigns its own."""
    return {key: value for key, value in document.items() if key != "_id"}
