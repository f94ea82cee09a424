"""``jfr-mp job delete`` and ``jfr-mp job files delete``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.bulk import Manner, MannerOptions, act_on, confirm
from jfr_mp.cli.commands import Options, command, with_examples
from jfr_mp.cli.job_choice import JobChoiceOptions, JobOfFilesArguments, chosen_job, run_dir_of
from jfr_mp.cli.options import DryRunOption, ProjectOption, YesOption
from jfr_mp.cli.printing import doing, print_text
from jfr_mp.errors import JfrMpError, NotAllowed
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

#: The states in which no process needs the run directory.
CLEANABLE = (JobState.COMPLETED, JobState.FAILED, JobState.REMOTE_ERROR)


class Extent(NamedTuple):
    """What is deleted together with jobs: parameters of `JobController.delete_job`."""

    delete_output: bool
    delete_files: bool


def extent(
    output: Annotated[
        bool, typer.Option("--output", "-o", help="Also delete the outputs, with the data in additional stores.")
    ] = False,
    files: Annotated[bool, typer.Option("--files", "-fi", help="Also delete the run directories.")] = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also delete outputs and run directories.")] = False,
) -> Extent:
    """Return what is deleted together with jobs."""
    return Extent(output or everything, files or everything)


ExtentOptions = Annotated[Extent, Options(extent)]


def add_deletion(group: typer.Typer, files: typer.Typer) -> None:
    """Add the commands that delete jobs and their files to the groups."""
    command(group, "delete")(delete)
    command(files, "delete")(delete_files)


@with_examples(
    {
        "jfr-mp job delete 12 --all": "one job, with its output and its run directory",
        "jfr-mp job delete --flow-id 12 --state FAILED --dry-run": "list what would be deleted",
    }
)
def delete(*, jobs: JobChoiceOptions, what: ExtentOptions, how: MannerOptions, project: ProjectOption) -> None:
    """Delete jobs from their flows. Jobs that depend on them stay, so the flow may be unable to go on.

    A job that is on its way is cancelled at its scheduler. To delete whole flows, use `jfr-mp flow delete`.
    """

    def act(controller: JobController, db_id: str, how: Manner) -> object:
        return controller.delete_job(db_id=db_id, **what._asdict(), **how.locking)

    act_on(project, jobs, "delete", act, how, asks=True)


@with_examples({"jfr-mp job files delete 12": "by db_id; asks first"})
def delete_files(
    *,
    job: JobOfFilesArguments,
    all_states: Annotated[bool, typer.Option("--all-states", "-as", help="Whatever the state of the job.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="With --all-states: even if processes of the project are running.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    project: ProjectOption,
) -> None:
    """Delete the run directory of a job that has ended."""
    with chosen_job(project, job) as (controller, found):
        check_cleaning(controller, all_states=all_states, force=force)
        run_dir = run_dir_of(found)
        if not all_states and found.state not in CLEANABLE:
            raise NotAllowed(f"job {found.db_id} is {found.state.name}; to delete its files anyway, use --all-states")
        if dry_run:
            print_text(f"Dry run: would delete {run_dir}; nothing was changed.")
            return
        if not yes and sys.stdin.isatty():
            confirm(f"delete {run_dir}")
        with doing("deleting"):
            removed = controller.remove_run_dir(found.worker, run_dir)
    if not removed:
        raise JfrMpError(f"{run_dir} does not exist; there is nothing to delete")
    print_text(f"Deleted {run_dir}")


def check_cleaning(controller: JobController, *, all_states: bool, force: bool) -> None:
    """Refuse to delete the files of jobs in any state while processes may need them.

    Raises
    ------
    NotAllowed
        Processes of the project are running.
    """
    from jfr_mp.diagnosis import running_roles

    if all_states and not force and running_roles(controller.db):
        raise NotAllowed(
            "processes of the project are running and may need these files: run `jfr-mp stop` first, or use --force"
        )


def removable(jobs: Sequence[JobInfo], *, all_states: bool) -> tuple[list[JobInfo], list[JobInfo]]:
    """Return the jobs whose run directories may be deleted, and of the jobs that still need theirs."""
    with_files = [job for job in jobs if job.run_dir]
    free = [job for job in with_files if all_states or job.state in CLEANABLE]
    return free, [job for job in with_files if job not in free]
