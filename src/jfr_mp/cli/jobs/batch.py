"""``jfr-mp batch``: inspect the batches of batch workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.filters import job_id
from jfr_mp.cli.options import JsonOption, ProjectOption, VerbosityOption, YesOption, number
from jfr_mp.cli.printing import print_details, print_json, print_sheet
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import Cell, Column, Sheet, clock, details
from jfr_mp.errors import JfrMpError, NotFound
from jfr_mp.logs import counted
from jfr_mp.states import BatchState

if TYPE_CHECKING:
    from jfr_mp.database.batches import BatchDoc

app = new_group("Inspect the batches of batch workers.")

_WorkersOption = Annotated[
    list[str] | None, typer.Option("--worker", "-wk", metavar="NAME", help="Only batches of this worker.")
]
_StatesOption = Annotated[
    list[BatchState] | None,
    typer.Option(
        "--state", "-s", metavar="STATE", help="Only this state: SUBMITTED, RUNNING or FINISHED.", case_sensitive=False
    ),
]


def batch_choice(
    states: _StatesOption = None,
    process_id: Annotated[
        str | None, typer.Option("--process-id", "-pid", metavar="ID", help="Only the batch of this scheduler job.")
    ] = None,
    batch_uid: Annotated[
        str | None, typer.Option("--batch-uid", "-bid", metavar="UID", help="Only the batch of this identifier.")
    ] = None,
    workers: _WorkersOption = None,
) -> dict[str, Any]:
    """Return the conditions on the batches that are deleted."""
    chosen = {"batch_state": states, "process_id": process_id, "batch_uid": batch_uid, "worker": workers}
    if not any(chosen.values()):
        raise typer.BadParameter("choose the batches, for example with --state FINISHED or --batch-uid UID")
    return chosen


def batch_conditions(
    workers: _WorkersOption = None,
    states: _StatesOption = None,
    job_ids: Annotated[
        list[str] | None, typer.Option("--job-id", "-jid", metavar="UUID:INDEX", help="Only batches that ran this job.")
    ] = None,
    db_ids: Annotated[
        list[str] | None, typer.Option("--db-id", "-did", metavar="ID", help="Only batches that ran this job.")
    ] = None,
) -> dict[str, Any]:
    """Return the conditions on the batches that are listed."""
    pairs = [job_id(text) for text in job_ids or ()]
    return {"worker": workers, "batch_state": states, "job_ids": pairs, "db_ids": db_ids}


@command(app, "list")
@with_examples(
    {"jfr-mp batch list": "the last 20 batches", "jfr-mp batch list -s RUNNING -v": "the running ones, with their jobs"}
)
def list_batches(
    *,
    batches: Annotated[dict[str, Any], Options(batch_conditions)],
    max_results: Annotated[int, number("--max-results", "-m", text="The length of the list; 0 for no limit.")] = 20,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """List batches, the last updated first."""
    with job_controller(project) as controller:
        found = controller.get_batches(**batches, limit=max_results)
    if as_json:
        print_json([batch.model_dump() for batch in found])
    else:
        print_sheet(batch_sheet(found, verbosity))


def batch_sheet(batches: Sequence[BatchDoc], verbosity: int = 0) -> Sheet:
    """Return the table of batches, with the db_ids of their jobs from verbosity 1 on."""
    titles = ("Batch uid", "Process id", "State", "Worker", "Jobs", "Last updated")
    more = verbosity > 0
    return Sheet(
        columns=(*map(Column, titles), *([Column("DB ids", breaks=True)] if more else [])),
        rows=tuple(
            (
                Cell(batch.batch_uid, short=batch.batch_uid.partition("-")[0]),
                Cell(batch.process_id),
                Cell(batch.batch_state.value),
                Cell(batch.worker),
                Cell(str(len(batch.jobs))),
                Cell(clock(batch.updated_on)),
                *([Cell(", ".join(str(job[0]) for job in batch.jobs))] if more else []),
            )
            for batch in batches
        ),
    )


@command(app)
@with_examples({"jfr-mp batch info 4711": "by the id of its scheduler job"})
def info(
    *,
    selected_id: Annotated[
        str, typer.Argument(metavar="ID", help="The identifier of a batch, or the id of its scheduler job.")
    ],
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Show everything about one batch."""
    with job_controller(project) as controller:
        found = controller.get_batches(batch_uid=selected_id) or controller.get_batches(process_id=selected_id)
    if not found:
        raise NotFound(f"there is no batch {selected_id}; see `jfr-mp batch list`")
    if len(found) > 1:
        uids = ", ".join(batch.batch_uid for batch in found)
        raise JfrMpError(f"several batches have the process id {selected_id}: choose one of {uids}")
    if as_json:
        print_json(found[0].model_dump())
    else:
        print_details(details(found[0].model_dump()))


@command(app)
@with_examples({"jfr-mp batch delete -s FINISHED": "forget the batches that have ended; asks first"})
def delete(
    *, chosen: Annotated[dict[str, Any], Options(batch_choice)], yes: YesOption = False, project: ProjectOption
) -> None:
    """Delete the records of batches. Jobs, and what is at the scheduler, are not touched."""
    with job_controller(project) as controller:
        count = controller.count_batches(**chosen)
        if not count:
            raise NotFound(f"no batch of project {project.name} matches; list batches with `jfr-mp batch list`")
        if not yes:
            confirm(f"delete the records of {counted(count, 'batch')}")
        deleted = controller.delete_batches(**chosen)
    typer.echo(f"Deleted the records of {counted(deleted, 'batch')}.")


@command(app, "fix-batch-doc-jobs-dict")
def fix_jobs(*, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Repair the records of batches in which an early version of jobflow-remote stored the jobs as a mapping.

    Their lists of jobs are empty afterwards; nothing else is changed. Records that are right stay as they are.
    """
    with job_controller(project) as controller:
        fixed = controller.fix_batch_doc_jobs()
    if as_json:
        print_json({"fixed": fixed})
    else:
        typer.echo(f"Repaired the records of {counted(fixed, 'batch')}.")
