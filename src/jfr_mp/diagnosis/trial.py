"""A trial job outside the queue, by which `check_project` finds out with what a worker runs jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import HostError
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME, QUEUE_ERR

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.hosts import BaseHost

#: The packages whose versions are reported.
_PACKAGES = ("jobflow", "jfr-mp", "jobflow-remote")
#: Text instead of a function of jfr-mp: the worker may have jobflow-remote only.
_LOOK = f"""{{
    "python": __import__("platform").python_version(),
    "executable": __import__("sys").executable,
    "packages": {{
        name: found.version
        for name in {_PACKAGES}
        for found in __import__("importlib.metadata").metadata.distributions(name=name)
    }},
}}"""


def put_trial(host: BaseHost, directory: str) -> None:
    """Put the input of the trial job into a directory of a host."""
    from jobflow import Job

    from jfr_mp.jobdata.inputs import input_document
    from jfr_mp.model import JobDoc
    from jfr_mp.states import JobState

    job = Job(function=eval, function_args=(_LOOK.replace("\n", " "),), name="trial")
    document = JobDoc(job={}, uuid=job.uuid, index=1, db_id="0", worker="", state=JobState.UPLOADED)
    host.write(f"{directory}/{IN_FILENAME}", input_document(job.as_dict(), _store(directory), document))


def read_trial(host: BaseHost, directory: str, into: Path) -> dict[str, Any]:
    """Return what the trial job found.

    Raises
    ------
    HostError
        The job failed.
    """
    from jfr_mp.jobdata.outputs import read_output
    from jfr_mp.jobdata.transfer_stores import transfer_store_names
    from jfr_mp.jobdata.untrusted import DOCUMENT_LIMIT, read_untrusted

    (store_file,) = transfer_store_names(_store(directory), None)
    host.fetch(directory, dict.fromkeys((OUT_FILENAME, QUEUE_ERR, store_file), DOCUMENT_LIMIT), into)
    if error := read_output(into, store_files=[store_file]).error:
        raise HostError(f"the command ran a job, which failed: {error.strip().splitlines()[-1]}")
    (document,) = json.loads(read_untrusted(Path(into, store_file), DOCUMENT_LIMIT))
    found: dict[str, Any] = document["output"]
    return found


def trial_text(found: Mapping[str, Any]) -> str:
    """Return what the trial job found as one line."""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return f"Python {found['python']} ({found['executable']}), {packages}"


def _store(directory: str) -> JobStore:
    from jobflow import JobStore
    from maggma.stores import MemoryStore

    from jfr_mp.jobdata.transfer_stores import transfer_store

    return transfer_store(JobStore(MemoryStore()), directory, None)
