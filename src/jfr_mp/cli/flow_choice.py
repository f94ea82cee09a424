"""The flow that a command is about, as the user names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.completion import complete_job
from jfr_mp.cli.job_choice import whole_uuid
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import NotFound

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project
    from jfr_mp.database.filters import FlowFilter
    from jfr_mp.model import FlowInfo


@dataclass(frozen=True)
class FlowName:
    """One flow, as the user names it.

    Parameters
    ----------
    id
        Its uuid, or the db_id or the uuid of one of its jobs.
    is_job
        Whether a uuid is that of a job.
    """

    id: str
    is_job: bool = False


def one_flow(
    flow: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The uuid of the flow, or the db_id or the uuid of one of its jobs.",
            autocompletion=complete_job,
        ),
    ],
    job: Annotated[bool, typer.Option("--job", "-j", help="A uuid is that of a job.")] = False,
) -> FlowName:
    """Return the flow that an argument names."""
    return FlowName(flow, job)


FlowArguments = Annotated[FlowName, Options(one_flow)]


@contextmanager
def chosen_flow(project: Project, flow: FlowName) -> Iterator[tuple[JobController, str]]:
    """Yield the controller of a project, and return the uuid of the flow that the user names.

    Raises
    ------
    NotFound
        There is no such flow, or the beginning of a uuid means several.
    """
    with job_controller(project) as controller:
        yield controller, flow_named(controller, flow)


def flow_named(controller: JobController, flow: FlowName) -> str:
    """Return the uuid of the flow that the user names.

    Raises
    ------
    NotFound
        There is no such flow, or the beginning of a uuid means several.
    """
    from jfr_mp.database.aggregation import document
    from jfr_mp.database.queries import flow_id_query

    db = controller.db
    queries: list[dict[str, Any]] = [flow_id_query(db_id=flow.id)]
    uuid = None if flow.is_job else whole_uuid(db.flows, flow.id)
    queries += [flow_id_query(flow_id=uuid)] if uuid else []
    if job_uuid := whole_uuid(db.jobs, flow.id) if uuid is None else None:
        queries.append(flow_id_query(job_id=job_uuid))
    for query in queries:
        found = document(db.flows, query, ["uuid"])
        if found is not None:
            return str(found["uuid"])
    raise NotFound(f"project {controller.project.name} has no flow {flow.id}; list its flows with `jfr-mp flow list`")


def flow_info(controller: JobController, uuid: str, jobs_sort: Any = None) -> FlowInfo:
    """Return a flow with its jobs.

    Raises
    ------
    NotFound
        It was deleted.
    """
    from jfr_mp.database import queries
    from jfr_mp.database.filters import FlowFilter

    found = queries.flows_info(controller.db, FlowFilter(flow_ids=(uuid,)), with_jobs_info=True, jobs_sort=jobs_sort)
    if not found:
        raise NotFound(f"flow {uuid} was deleted")
    return found[0]


def matching_flows(controller: JobController, flows: FlowFilter) -> list[FlowInfo]:
    """Return the flows that filters select with their jobs, oldest first.

    Raises
    ------
    typer.BadParameter
        No filter was given, which would mean all flows.
    NotFound
        No flow matches.
    """
    from jfr_mp.database import queries
    from jfr_mp.database.filters import is_empty

    if is_empty(flows):
        raise typer.BadParameter("select flows with filters such as --flow-id, --state and --days")
    found = queries.flows_info(controller.db, flows, sort=[("created_on", 1)], with_jobs_info=True)
    if not found:
        raise NotFound(f"no flow of project {controller.project.name} matches; list flows with `jfr-mp flow list`")
    return found
