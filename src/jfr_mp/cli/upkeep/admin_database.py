"""``jfr-mp admin``: reset the database, break locks, make indexes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.filters import FlowFilterOptions, JobFilterOptions
from jfr_mp.cli.options import DeprecatedForceOption, ProjectOption, YesOption
from jfr_mp.cli.printing import doing
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import AlreadyRunning, JfrMpError, NotFound
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController


class Direction(StrEnum):
    """The direction of an index."""

    ASC = "asc"
    DESC = "desc"


class CollectionName(StrEnum):
    """The collections of the queue."""

    JOBS = "jobs"
    FLOWS = "flows"
    AUXILIARY = "auxiliary"
    BATCHES = "batches"


ForegroundOption = Annotated[
    bool,
    typer.Option(
        "--foreground",
        "-fg",
        help="Accepted as in jobflow-remote: the command always waits for the index, and others can go on working.",
    ),
]


def add_database_commands(group: typer.Typer) -> None:
    """Add the commands to a group."""
    command(group)(reset)
    command(group)(unlock)
    command(group, "unlock-flow")(unlock_flow)
    command(group, "unlock-runner")(unlock_runner)
    index = new_group("Make indexes of the queue.")
    command(index, "create")(create_index)
    command(index, "rebuild")(rebuild_indexes)
    group.add_typer(index, name="index")


@with_examples(
    {
        "jfr-mp admin reset": "a database with fewer than 25 flows; asks first",
        "jfr-mp admin reset 2026-01-31 --yes": "a larger one, confirmed by the date of today",
    }
)
def reset(
    *,
    validation: Annotated[
        str | None, typer.Argument(metavar="DATE", help="The date of today, YYYY-MM-DD: needed for 25 flows and more.")
    ] = None,
    output: Annotated[bool, typer.Option("--output", "-o", help="Also delete all outputs in the JobStore.")] = False,
    yes: YesOption = False,
    force: DeprecatedForceOption = False,
    project: ProjectOption,
) -> None:
    """Delete all jobs, flows and batches of a project. Nothing may be running."""
    with job_controller(project) as controller:
        refuse_while_running(controller)
        if not yes:
            what = "jobs, flows, batches and outputs" if output else "jobs, flows and batches"
            confirm(f"delete all {what} of project {project.name}")
        with doing("deleting"):
            done = controller.reset(reset_output=output, validation=validation)
        if not done:
            raise JfrMpError(
                f"project {project.name} has {counted(controller.count_flows(), 'flow')} and was not reset: "
                "add the date of today, as in `jfr-mp admin reset YYYY-MM-DD`"
            )
    typer.echo(f"Project {project.name} was reset.")


def refuse_while_running(controller: JobController) -> None:
    """Refuse to act while a runner works on the database.

    Raises
    ------
    AlreadyRunning
        One does, on whatever machine.
    """
    from jfr_mp.diagnosis import running_roles

    runner = controller.get_running_runner()
    if runner or running_roles(controller.db):
        where = f" on {runner['hostname']}" if runner and runner.get("hostname") else ""
        raise AlreadyRunning(f"a runner works on this database{where}: stop it first, with `jfr-mp stop` there")


@with_examples({"jfr-mp admin unlock --db-id 12": "asks first"})
def unlock(
    *, jobs: JobFilterOptions, yes: YesOption = False, force: DeprecatedForceOption = False, project: ProjectOption
) -> None:
    """Break the locks of jobs. A process that is working on such a job loses its work."""
    from dataclasses import replace

    from jfr_mp.database import aggregation, queries
    from jfr_mp.database.filters import is_empty

    if is_empty(jobs):
        raise typer.BadParameter("choose the jobs, for example with --db-id ID")
    locked = replace(jobs, locked=True)
    with job_controller(project) as controller:
        count = queries.count_jobs(controller.db, locked)
        if not count:
            raise NotFound("no job that matches is locked; list the locked ones with `jfr-mp job list --locked`")
        if not yes:
            confirm(f"break the locks of {counted(count, 'job')}")
        unlocked = aggregation.unlock_jobs(controller.db, locked)
    typer.echo(f"Unlocked {counted(unlocked, 'job')}.")


@with_examples({"jfr-mp admin unlock-flow --flow-id 12": "the flow of job 12; asks first"})
def unlock_flow(
    *,
    flows: FlowFilterOptions,
    yes: YesOption = False,
    force: DeprecatedForceOption = False,
    project: ProjectOption,
) -> None:
    """Break the locks of flows. A process that is completing a job of such a flow loses its work."""
    from dataclasses import replace

    from jfr_mp.database import aggregation, queries
    from jfr_mp.database.filters import is_empty

    if is_empty(flows):
        raise typer.BadParameter("choose the flows, for example with --flow-id ID")
    locked = replace(flows, locked=True)
    with job_controller(project) as controller:
        count = queries.count_flows(controller.db, locked)
        if not count:
            raise NotFound("no flow that matches is locked; list the locked ones with `jfr-mp flow list --locked`")
        if not yes:
            confirm(f"break the locks of {counted(count, 'flow')}")
        unlocked = aggregation.unlock_flows(controller.db, locked)
    typer.echo(f"Unlocked {counted(unlocked, 'flow')}.")


def unlock_runner(*, project: ProjectOption) -> None:
    """Break the lock of the record of the running runner. Needed only after a process was killed."""
    with job_controller(project) as controller:
        found, modified = controller.unlock_runner()
    if not found:
        raise JfrMpError("the database has no record of a runner: it was never used; `jfr-mp start` prepares it")
    typer.echo("Unlocked the record of the runner." if modified else "The record of the runner was not locked.")


@with_examples({"jfr-mp admin index create job.metadata.kind": "for lists that are filtered by this metadata"})
def create_index(
    *,
    key: Annotated[str, typer.Argument(metavar="FIELD", help="The field; dots lead into nested ones.")],
    direction: Annotated[Direction, typer.Argument(metavar="asc|desc", help="The direction.")] = Direction.ASC,
    collection: Annotated[
        CollectionName, typer.Option("--collection", "-c", help="The collection: jobs, flows, auxiliary or batches.")
    ] = CollectionName.JOBS,
    unique: Annotated[bool, typer.Option("--unique", "-u", help="Refuse two documents of the same value.")] = False,
    foreground: ForegroundOption = False,
    project: ProjectOption,
) -> None:
    """Create an index beside the ones of jfr-mp."""
    with job_controller(project) as controller, doing("creating the index"):
        way = 1 if direction is Direction.ASC else -1
        controller.create_indexes([[(key, way)]], collection=collection.value, unique=unique, background=not foreground)
    typer.echo(f"Created an index of {key} in {collection.value}.")


def rebuild_indexes(*, foreground: ForegroundOption = False, project: ProjectOption) -> None:
    """Drop all indexes of the queue, custom ones included, and create the ones of jfr-mp."""
    with job_controller(project) as controller, doing("creating the indexes"):
        controller.build_indexes(background=not foreground, drop=True)
    typer.echo("Built the indexes again.")
