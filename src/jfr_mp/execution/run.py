"""The worker command: run the job that was uploaded to a directory and leave its output there.

Its start-up time is part of every job, so everything is imported as late as possible; the imports of jobflow are nearly
all of it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import JfrMpError
from jfr_mp.execution.current import CURRENT_JOBDOC
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME, write_atomically

if TYPE_CHECKING:
    from jobflow import Job, JobStore, Response

#: Notes of the packages to their developers, which would fill queue.err of every job.
_DEVELOPERS_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


class _UnusableJob(JfrMpError):
    """The job cannot be run here; the text is all that its user needs, without a traceback."""


def run_job(run_dir: str | Path = ".") -> None:
    """Run the job in a directory.

    Whatever the job does, ``jfremote_out.json`` tells it: ``{response, error, start_time, end_time}``, or only
    ``{start_time}`` from the start until the end. A job that raises is not an error of this function.

    Parameters
    ----------
    run_dir
        The run directory, which holds ``jfremote_in.json``. The job runs in it.

    Raises
    ------
    OSError
        The directory cannot be entered or written.
    BaseException
        What ended the process, such as KeyboardInterrupt or SystemExit, after it was written down.
    """
    start_time = _serialized(datetime.now(UTC))
    # Absolute, because a job may change its working directory and not come back.
    directory = Path(run_dir).absolute()
    with contextlib.chdir(directory):
        _write(directory, {"start_time": start_time})
        output: dict[str, Any] = {"response": None, "error": None, "start_time": start_time}
        try:
            _silence_developers_warnings()
            output["response"] = _run(directory)
        except _UnusableJob as error:
            output["error"] = str(error)
        except BaseException as error:
            # The top of the process: nothing that a job does may leave its user without a reason.
            output["error"] = traceback.format_exc()
            if not isinstance(error, Exception):
                raise
        finally:
            output["end_time"] = _serialized(datetime.now(UTC))
            CURRENT_JOBDOC.reset()
            _write(directory, output)


def _run(directory: Path) -> dict[str, Any]:
    """Run the job and return its serialized response."""
    document = _read_input(directory)
    job = _load_job(document["job"])

    from jobflow import initialize_logger
    from monty.json import MontyEncoder

    from jfr_mp.jobdata.transfer_stores import load_transfer_store

    store: Any = load_transfer_store(document["store"])
    if document.get("job_doc"):
        CURRENT_JOBDOC.job_doc = _load_job_doc(document["job_doc"], job)
    store.connect()
    initialize_logger()
    try:
        response = job.run(store=store)
    finally:
        _decompress(directory, store)
    # The files of some formats are written only now.
    store.close()
    _prepare(response)
    serialized: dict[str, Any] = json.loads(json.dumps(response, cls=MontyEncoder))
    return serialized


def _read_input(directory: Path) -> dict[str, Any]:
    """Read the input file."""
    import orjson

    try:
        document: dict[str, Any] = orjson.loads(Path(directory, IN_FILENAME).read_bytes())
    except FileNotFoundError:
        raise _UnusableJob(f"There is no {IN_FILENAME} in {directory}: it was never uploaded, or removed.") from None
    except orjson.JSONDecodeError as error:
        raise _UnusableJob(f"{IN_FILENAME} in {directory} is damaged: {error}. Rerun the job.") from None
    return document


def _load_job(document: dict[str, Any]) -> Job:
    """Make the job from its serialized form.

    The function goes first, because monty leaves what it cannot import as a dictionary, or fails somewhere deep in it.
    """
    from monty.json import MontyDecoder

    function = document["function"]
    try:
        if isinstance(MontyDecoder().process_decoded(function), dict):
            raise _not_importable(function, "its module has no such name")
    except ImportError as error:
        raise _not_importable(function, f"{type(error).__name__}: {error}") from error
    job: Job = MontyDecoder().process_decoded(document)
    return job


def _not_importable(function: dict[str, Any], reason: str) -> _UnusableJob:
    """Say which function is missing where, and what to do."""
    module, name = function.get("@module"), function.get("@callable")
    version = ".".join(map(str, sys.version_info[:3]))
    advice = (
        "It was defined in a script that was run directly: put it in a module that the worker can import."
        if module == "__main__"
        else "Install the package that defines it in that Python environment, or set PYTHONPATH by the exec_config."
    )
    return _UnusableJob(
        f"The function {module}.{name} cannot be imported on this worker by {sys.executable} (Python {version}): "
        f"{reason}. {advice}"
    )


def _load_job_doc(document: dict[str, Any], job: Job) -> Any:
    """Make the document that `CURRENT_JOBDOC` shows."""
    from monty.json import MontyDecoder

    from jfr_mp.model import JobRecord

    # The record keeps fields that it does not know, so the job and its resources can be the real objects.
    return JobRecord.model_validate({**MontyDecoder().process_decoded(document), "job": job})


def _prepare(response: Response[Any]) -> None:
    """Drop the output, which is in the store by now, and make flows of everything the job asks to add.

    The runner then needs neither jobflow nor the packages of the new jobs to read them.
    """
    from jobflow.core.flow import get_flow

    response.output = None
    for kind in ("addition", "detour", "replace"):
        if getattr(response, kind):
            setattr(response, kind, get_flow(getattr(response, kind)))


def _decompress(directory: Path, store: JobStore) -> None:
    """Undo the compression of our files by a job that compressed everything in its directory."""
    from jfr_mp.jobdata.transfer_stores import store_paths

    for name in (OUT_FILENAME, *(path.name for path in store_paths(store))):
        compressed = [path for path in directory.iterdir() if path.name.startswith(f"{name}.")]
        if compressed and not Path(directory, name).exists():
            from monty.shutil import decompress_file

            decompress_file(str(compressed[0]))


def _silence_developers_warnings() -> None:
    """Hide deprecations, unless the user asks for warnings by PYTHONWARNINGS or ``-W``."""
    if not sys.warnoptions:
        for category in _DEVELOPERS_WARNINGS:
            warnings.simplefilter("ignore", category)


def _serialized(time: datetime) -> dict[str, str]:
    """Serialize a time as monty does, without importing it."""
    return {"@module": "datetime", "@class": "datetime", "string": str(time)}


def _write(directory: Path, output: dict[str, Any]) -> None:
    """Write the output file at once: a reader never sees half of it."""
    write_atomically(directory / OUT_FILENAME, json.dumps(output).encode())
