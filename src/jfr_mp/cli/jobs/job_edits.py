"""``jfr-mp job set`` and ``jfr-mp job set-state``: edit jobs that are in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.bulk import Act, Manner, MannerOptions, act_on
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.completion import complete_exec_config, complete_worker
from jfr_mp.cli.filters import complete_job_state, job_state, mapping
from jfr_mp.cli.job_choice import JobChoiceOptions, SeveralJobsOptions
from jfr_mp.cli.options import MAX_NUMBER, ProjectOption, whole_number
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController


def add_edits(group: typer.Typer) -> None:
    """Add the commands that edit jobs to a group."""
    command(group, "set-state")(set_state)
    properties = new_group("Set where and how jobs run that have not started, or that have ended.")
    command(properties, "worker")(set_worker)
    command(properties, "exec-config")(set_exec_config)
    command(properties, "resources")(set_resources)
    command(properties, "priority")(set_priority)
    group.add_typer(properties, name="set")


def _setting(**values: Any) -> Act:
    """Return an action that sets properties of a job; `values` are parameters of `set_run_properties`."""
    from jfr_mp.api.edits import set_run_properties

    return lambda controller, db_id, how: set_run_properties(controller, db_id, **values, **how.locking)


@with_examples({"jfr-mp job set worker cluster --flow-id 12": "all jobs of a flow; asks first"})
def set_worker(
    *,
    new_worker: Annotated[
        str, typer.Argument(metavar="WORKER", help="A worker of the project.", autocompletion=complete_worker)
    ],
    jobs: SeveralJobsOptions,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Let jobs run on another worker. Jobs that are on their way refuse."""
    act_on(project, jobs, "change the worker of", _setting(worker=new_worker), how)


@with_examples({"jfr-mp job set exec-config gpu --db-id 12 --db-id 14 --yes": "two jobs"})
def set_exec_config(
    *,
    new_config: Annotated[
        str,
        typer.Argument(
            metavar="EXEC_CONFIG", help="An exec_config of the project.", autocompletion=complete_exec_config
        ),
    ],
    jobs: SeveralJobsOptions,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Let jobs run with another exec_config. Jobs that are on their way refuse."""
    act_on(project, jobs, "change the exec_config of", _setting(exec_config=new_config), how)


@with_examples(
    {
        "jfr-mp job set resources nodes=2,time=3600 --db-id 12 --yes": "change two keywords, keep the others",
        """jfr-mp job set resources '{"nodes": 2}' --replace --state READY""": "no keyword but this; asks first",
    }
)
def set_resources(
    *,
    resources: Annotated[
        dict,  # type: ignore[type-arg]  # typer wants a class
        typer.Argument(metavar="RESOURCES", help="KEY=VALUE,... or a JSON object.", parser=mapping),
    ],
    jobs: SeveralJobsOptions,
    replace: Annotated[bool, typer.Option("--replace", "-r", help="Remove the keywords that are not given.")] = False,
    qresources: Annotated[
        bool, typer.Option("--qresources", "-qr", help="The keywords are those of qtoolkit's QResources.")
    ] = False,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Request other resources from the scheduler. Jobs that are on their way refuse."""
    value: Any = _qresources(resources) if qresources else resources
    act_on(
        project,
        jobs,
        "change the resources of",
        _setting(resources=value, update=not replace),
        how,
    )


def _qresources(keywords: dict[str, Any]) -> Any:
    from qtoolkit.core.data_objects import QResources
    from qtoolkit.core.exceptions import UnsupportedResourcesError

    try:
        return QResources(**keywords)
    except (TypeError, UnsupportedResourcesError) as error:
        raise typer.BadParameter(f"not the keywords of a QResources: {error}") from None


@with_examples({"jfr-mp job set priority 10 --name 'relax*'": "these before others; asks first"})
def set_priority(
    *,
    priority: Annotated[
        int,
        typer.Argument(metavar="PRIORITY", help="Higher starts first.", parser=whole_number(-MAX_NUMBER)),
    ],
    jobs: SeveralJobsOptions,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Let jobs start before or after others. Jobs in any state accept it."""
    act_on(project, jobs, "change the priority of", _setting(priority=priority), how)


@with_examples({"jfr-mp job set-state FAILED 12": "one job, by its db_id"})
def set_state(
    *,
    new_state: Annotated[
        JobState,
        typer.Argument(metavar="STATE", help="The new state.", parser=job_state, autocompletion=complete_job_state),
    ],
    jobs: JobChoiceOptions,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Set jobs to any state, without any check: for repairs only. The state of the flow follows.

    Other jobs are not changed, and nothing is cancelled. Prefer `jfr-mp job rerun`, `retry`, `stop` or `resume`.
    """

    def act(controller: JobController, db_id: str, how: Manner) -> object:
        return controller.set_job_state(new_state, db_id=db_id, **how.locking)

    act_on(project, jobs, f"set to {new_state.name}", act, how)
