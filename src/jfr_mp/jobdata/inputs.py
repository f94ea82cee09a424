"""Building the input of a job: references are resolved, and everything is serialized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.transfer_stores import additional_stores
from jfr_mp.model import JobDoc

if TYPE_CHECKING:
    from jobflow import JobStore


def resolve_references(job: dict[str, Any], jobstore: JobStore) -> None:
    """Replace the references to other jobs by the outputs of these jobs.

    The job stays serialized, so that the packages of its inputs need not be installed here. A job whose configuration
    disables resolving is left unchanged.

    Parameters
    ----------
    job
        The serialized job; changed in place.
    jobstore
        The connected JobStore with the outputs.

    Raises
    ------
    ConfigError
        The job stores output in an additional store that the project does not define.
    ValueError
        A referenced output is missing, and the job does not accept that.
    """
    from jobflow.core.reference import OnMissing, find_and_resolve_references

    config = job["config"]
    if not config["resolve_references"]:
        return
    # One cache for both, so that an output that is used twice is fetched once.
    cache: dict[str, Any] = {}
    on_missing = OnMissing(config["on_missing_references"])
    for part in ("function_args", "function_kwargs"):
        job[part] = find_and_resolve_references(job[part], jobstore, cache=cache, on_missing=on_missing)
    _check_additional_stores(job, jobstore)


def input_document(job: dict[str, Any], store: JobStore, job_doc: JobDoc) -> bytes:
    """Return the content of the input file ``{job, store, job_doc}``.

    Parameters
    ----------
    job
        The serialized job with resolved references.
    store
        The transfer store, with paths on the worker.
    job_doc
        The document of the job, which the running job can read; stored without the job and its lock.
    """
    import orjson
    from monty.json import jsanitize

    from jfr_mp.jobdata.file_formats import plain_float

    doc = job_doc.model_dump(exclude={"job", "_id"}) | {"lock_id": None, "lock_time": None}
    content = jsanitize({"job": job, "store": store, "job_doc": doc}, strict=True, allow_bson=True, enum_values=True)
    return orjson.dumps(content, default=plain_float)


def _check_additional_stores(job: dict[str, Any], jobstore: JobStore) -> None:
    """Raise an error if a job names an undefined additional store; jobflow keeps the names next to the job's fields."""
    import inspect

    from jobflow import Job

    own_fields = set(inspect.signature(Job).parameters) - {"kwargs"}
    names = {name for name in set(job) - own_fields if not name.startswith("@")}
    missing = sorted(names - set(additional_stores(jobstore)))
    if missing:
        raise ConfigError(
            f"job {job.get('name')!r} stores output in the additional stores {', '.join(missing)}, which the JobStore "
            "of this project does not have; define them in jobstore.additional_stores of the project file"
        )
