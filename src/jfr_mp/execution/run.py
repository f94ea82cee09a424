"""The worker command: run the job that was uploaded to a directory and write its output there.

Its start-up time is part of every job, so modules are imported as late as possible. Most of the start-up time is the
import of jobflow.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.deferral import deferred
from jfr_mp.errors import JfrMpError, UnresolvableReference
from jfr_mp.execution.current import CURRENT_JOBDOC
from jfr_mp.jobdata import json_text
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME, write_atomically

if TYPE_CHECKING:
    from jobflow import Job, JobStore, Response

#: Warnings that packages address to developers; they would fill queue.err of every job.
_DEVELOPERS_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


class _UnusableJob(JfrMpError):
    """The job cannot be run here; the message is shown to the user without a traceback."""


def run_job(run_dir: str | Path = ".") -> None:
    """Run the job in a directory.

    The result is written to ``jfremote_out.json`` in any case: ``{response, error, start_time, end_time}`` at the end,
    and only ``{start_time}`` while the job is running. A job that raises is not an error of this function.

    Parameters
    ----------
    run_dir
        The run directory, which contains ``jfremote_in.json``. The job runs in it.

    Raises
    ------
    OSError
        The directory cannot be entered or written.
    BaseException
        An exception that ends the process, such as KeyboardInterrupt or SystemExit, after it was recorded.
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
        except (_UnusableJob, UnresolvableReference) as error:
            output["error"] = str(error)
        except BaseException as error:
            # The top of the process: whatever the job raises is recorded as the reason of its failure.
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
    _import_jobflow()
    job = _load_job(document["job"])

    from jobflow import initialize_logger

    from jfr_mp.jobdata.transfer_stores import load_transfer_store

    store: Any = load_transfer_store(document["store"], exact=bool(document.get("exact_values")))
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
    serialized: dict[str, Any] = json_text.load(json_text.dump(response))
    return serialized


def _import_jobflow() -> None:
    """Import jobflow before the module of the job, which would import all of it.

    Its objects are no garbage, and are not searched for any: neither now, nor beside those of the job, nor at the end.
    """
    if "jobflow" in sys.modules:
        return
    gc.disable()
    # Decoding the job says what is missing.
    with deferred(), contextlib.suppress(ImportError):
        import jobflow  # noqa: F401 - it is in `sys.modules` then
    gc.freeze()
    gc.enable()


def _read_input(directory: Path) -> dict[str, Any]:
    """Read the input file."""
    try:
        document: dict[str, Any] = json_text.load(Path(directory, IN_FILENAME).read_bytes())
    except FileNotFoundError:
        raise _UnusableJob(
            f"There is no {IN_FILENAME} in {directory}: it was not uploaded, or has been removed. Rerun the job."
        ) from None
    except json.JSONDecodeError as error:
        raise _UnusableJob(f"{IN_FILENAME} in {directory} is damaged: {error}. Rerun the job.") from None
    return document


def _load_job(document: dict[str, Any]) -> Job:
    """Return the job from its serialized form.

    The function is decoded first, because monty leaves objects that it cannot import as dictionaries, or fails with an
    error that does not name the function.
    """
    from monty.json import MontyDecoder

    function = document["function"]
    try:
        if isinstance(MontyDecoder().process_decoded(function), dict):
            raise _not_importable(function, "the module does not define it")
    except ImportError as error:
        raise _not_importable(function, f"{type(error).__name__}: {error}") from error
    job: Job = MontyDecoder().process_decoded(document)
    return job


def _not_importable(function: dict[str, Any], reason: str) -> _UnusableJob:
    """Return the error for a function that cannot be imported, with advice."""
    module, name = function.get("@module"), function.get("@callable")
    version = ".".join(map(str, sys.version_info[:3]))
    advice = (
        "It was defined in a script that was run directly: move it to a module that the worker can import."
        if module == "__main__"
        else "Install the package that defines it in that Python environment, or set PYTHONPATH in the exec_config."
    )
    return _UnusableJob(
        f"The function {module}.{name} cannot be imported on this worker by {sys.executable} (Python {version}): "
        f"{reason}. {advice}"
    )


def _load_job_doc(document: dict[str, Any], job: Job) -> Any:
    """Return the document for `CURRENT_JOBDOC`."""
    from monty.json import MontyDecoder

    from jfr_mp.model import JobRecord

    # The record keeps unknown fields, so that the job and its resources can be the real objects.
    return JobRecord.model_validate({**MontyDecoder().process_decoded(document), "job": job})


def _prepare(response: Response[Any]) -> None:
    """Remove the output, which is in the store by now, and convert the jobs that the job returned to flows.

    The runner can then read them without jobflow and without the packages of the new jobs.
    """
    from jobflow.core.flow import get_flow

    response.output = None
    for kind in ("addition", "detour", "replace"):
        if getattr(response, kind):
            setattr(response, kind, get_flow(getattr(response, kind)))


def _decompress(directory: Path, store: JobStore) -> None:
    """Decompress the files of jfr-mp again if the job compressed all files in its directory."""
    from jfr_mp.jobdata.transfer_stores import store_paths

    for name in (OUT_FILENAME, *(path.name for path in store_paths(store))):
        compressed = [path for path in directory.iterdir() if path.name.startswith(f"{name}.")]
        if compressed and not Path(directory, name).exists():
            from monty.shutil import decompress_file

            decompress_file(str(compressed[0]))


def _silence_developers_warnings() -> None:
    """Ignore deprecation warnings, unless the user enables warnings by PYTHONWARNINGS or ``-W``."""
    if not sys.warnoptions:
        for category in _DEVELOPERS_WARNINGS:
            warnings.simplefilter("ignore", category)


def _serialized(time: datetime) -> dict[str, str]:
    """Return a time in monty's serialized form, without importing monty."""
    return {"@module": "datetime", "@class": "datetime", "string": str(time)}


def _write(directory: Path, output: dict[str, Any]) -> None:
    """Write the output file atomically, so that a reader never sees an incomplete file."""
    write_atomically(directory / OUT_FILENAME, json_text.dump(output))
