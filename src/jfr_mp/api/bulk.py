"""The plural methods of `JobController`: one action on each of the jobs that conditions select."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature
from typing import Any

from jfr_mp.api import commands, edits, reading, removal
from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import ExecutionConfig
from jfr_mp.database import queries
from jfr_mp.database.filters import JobFilter
from jfr_mp.errors import InvalidQuery, JfrMpError
from jfr_mp.logs import counted

logger = logging.getLogger(__name__)

#: Acts on one job by its db_id; returns the db_id, or the db_ids, of the jobs that it has changed.
Act = Callable[[str], str | list[str] | None]

_CONDITIONS = (
    "job_ids",
    "db_ids",
    "flow_ids",
    "states",
    "start_date",
    "end_date",
    "name",
    "metadata",
    "workers",
    "custom_query",
)
#: The parameters that select jobs, as in `get_jobs_info`, in jobflow-remote's order.
SELECTION = tuple(
    parameter.replace(kind=Parameter.POSITIONAL_OR_KEYWORD)
    for parameter in map(inspect.signature(reading.get_jobs_info).parameters.__getitem__, _CONDITIONS)
)
_RAISE = Parameter("raise_on_error", Parameter.POSITIONAL_OR_KEYWORD, default=True, annotation="bool")


def on_each(
    self: ProjectAccess, selection: Mapping[str, Any], act: Act, *, raise_on_error: bool, max_limit: int = 0
) -> list[str]:
    """Act on each of the selected jobs, oldest first, and return the db_ids of the jobs that were changed.

    Parameters
    ----------
    selection
        The conditions; without any, all jobs are selected.
    raise_on_error
        Whether the first job that refuses ends the loop; otherwise the error is logged and the loop goes on.
    max_limit
        If more jobs than this are selected, none is changed; 0 for no limit.

    Raises
    ------
    InvalidQuery
        More jobs than `max_limit` are selected.
    """
    jobs = queries.jobs_info(self.db, JobFilter.of(**selection), sort=[("created_on", 1), ("db_id", 1)])
    if max_limit and len(jobs) > max_limit:
        raise InvalidQuery(
            f"{counted(len(jobs), 'job')} selected, more than max_limit={max_limit}; nothing was changed. "
            "Raise the limit, or pass 0 for no limit"
        )
    changed: dict[str, None] = {}
    for job in jobs:
        try:
            result = act(job.db_id)
        except (JfrMpError, ValueError) as error:
            if raise_on_error:
                raise
            logger.error("job %s was not changed: %s", job.db_id, error)
            continue
        changed.update(dict.fromkeys([result] if isinstance(result, str) else result or ()))
    return list(changed)


def plural(
    act: Callable[..., Any], *further: str, leading: Sequence[str] = (), limit: int | None = None
) -> Callable[..., list[str]]:
    """Return the plural form of a method that acts on one job.

    Parameters
    ----------
    act
        The method for one job.
    further, leading
        Its parameters that the plural form has as well, after and before the options that select the jobs.
    limit
        The default of the parameter `max_limit`; None for no such parameter.
    """
    own = inspect.signature(act).parameters
    parameters = [own["self"], *(own[name] for name in leading), *SELECTION, _RAISE, *(own[name] for name in further)]
    if limit is not None:
        parameters.append(Parameter("max_limit", Parameter.POSITIONAL_OR_KEYWORD, default=limit, annotation="int"))
    signature = Signature(parameters, return_annotation="list[str]")

    def on_all(*args: Any, **kwargs: Any) -> list[str]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        self = given.pop("self")
        selection = {name: given.pop(name) for name in _CONDITIONS}
        how = {name: given.pop(name) for name in ("raise_on_error", "max_limit") if name in given}
        return on_each(self, selection, lambda db_id: act(self, db_id=db_id, **given), **how)

    on_all.__name__ = f"{act.__name__}s"
    on_all.__doc__ = f"""Apply `{act.__name__}` to each of the selected jobs; see `on_each` for the parameters.

    Returns
    -------
    list of str
        The db_ids of the jobs that were changed.
    """
    on_all.__signature__ = signature  # type: ignore[attr-defined]  # read by `inspect`, unknown to mypy
    return on_all


rerun_jobs = plural(commands.rerun_job, "force", "wait", "break_lock", "delete_files")
retry_jobs = plural(commands.retry_job, "wait", "break_lock")
pause_jobs = plural(commands.pause_job, "wait")
stop_jobs = plural(commands.stop_job, "wait", "break_lock")
resume_jobs = plural(commands.resume_job, "wait", "break_lock")
set_jobs_state = plural(edits.set_job_state, "wait", "break_lock", leading=["state"])
delete_jobs = plural(removal.delete_job, "wait", "delete_output", "delete_files", limit=10)


def set_job_run_properties(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    worker: str | None = None,
    exec_config: str | ExecutionConfig | dict[str, Any] | None = None,
    resources: Any = None,
    priority: int | None = None,
    update: bool = True,
    job_ids: Any = None,
    db_ids: Any = None,
    flow_ids: Any = None,
    states: Any = None,
    start_date: Any = None,
    end_date: Any = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    workers: Any = None,
    custom_query: dict[str, Any] | None = None,
    raise_on_error: bool = True,
) -> list[str]:
    """Set where and how the selected jobs run; a job that is on its way refuses, except if only its priority changes.

    Parameters
    ----------
    worker, exec_config, resources, priority
        The new values, as for `jfr_mp.submit_flow`; None leaves a value as it is.
    update
        Whether dictionaries are merged with the stored values instead of replacing them.
    job_ids, db_ids, flow_ids, states, start_date, end_date, name, metadata, workers, custom_query
        The jobs, as for `get_jobs_info`.
    raise_on_error
        As for `on_each`.

    Returns
    -------
    list of str
        The db_ids of the jobs.

    Raises
    ------
    NotFound
        The project has no such worker or execution configuration.
    """
    properties = edits.run_properties(self, worker, exec_config, resources, priority, update=update)
    given = locals()
    selection = {condition: given[condition] for condition in _CONDITIONS}
    act = partial(
        edits.set_job_doc_properties,
        self,
        properties.values(),
        acceptable_states=list(properties.states),
        use_pipeline=True,
    )
    return on_each(self, selection, lambda db_id: act(db_id=db_id), raise_on_error=raise_on_error)
