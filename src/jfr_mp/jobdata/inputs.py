"""Building the input of a job: references are resolved, and everything is serialized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jfr_mp.errors import ConfigError
from jfr_mp.jobdata import json_text
from jfr_mp.jobdata.references import References
from jfr_mp.jobdata.transfer_stores import additional_stores
from jfr_mp.model import JobDoc

if TYPE_CHECKING:
    from jobflow import JobStore


def resolve_references(job: dict[str, Any], jobstore: JobStore, *, decode: bool = False) -> None:
    """Replace the references to other jobs by the outputs of these jobs.

    The job stays serialized, so that the packages of its inputs need not be installed here. A job whose configuration
    disables resolving is left unchanged.

    Parameters
    ----------
    job
        The serialized job; changed in place.
    jobstore
        The connected JobStore with the outputs.
    decode
        Whether the worker command is not that of jfr-mp. References to parts of objects are then resolved here, which
        needs the packages of the objects.

    Raises
    ------
    ConfigError
        The job stores output in an additional store that the project does not define.
    UnresolvableReference
        A reference leads to nothing: the output is missing, and the job does not accept that, or the part does not
        exist.
    """
    from jobflow import OnMissing

    config = job["config"]
    if not config["resolve_references"]:
        return
    references = References(
        jobstore,
        OnMissing(config["on_missing_references"]),
        wrap=config["resolve_references"] == "both",
        decode=decode,
    )
    for part in ("function_args", "function_kwargs"):
        job[part] = references.resolve(job[part])
    _check_additional_stores(job, jobstore)


def input_document(job: dict[str, Any], store: JobStore, job_doc: JobDoc) -> bytes:
    """Return the content of the input file ``{job, store, job_doc, exact_values}``.

    `exact_values` is specific to jfr-mp: it tells the worker that the runner reads extended JSON in every format.

    Parameters
    ----------
    job
        The serialized job with resolved references.
    store
        The transfer store, with paths on the worker.
    job_doc
        The document of the job, which the running job can read; stored without the job and its lock.
    """
    from monty.json import jsanitize

    doc = job_doc.model_dump(exclude={"job", "_id"}) | {"lock_id": None, "lock_time": None}
    # What is serialized here already is not looked at as an array, for which numpy would be imported.
    whole = {"job": job, "store": store.as_dict(), "job_doc": doc, "exact_values": True}
    content = jsanitize(whole, strict=True, allow_bson=True, enum_values=True)
    return json_text.dump(content)


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
