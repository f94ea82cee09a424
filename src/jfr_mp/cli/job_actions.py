"""``jfr-mp job stop | pause | resume | retry | rerun``: what a user has done to one job or to several."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.commands import Options, command, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.job_choice import JobChoice, JobChoiceOptions
from jfr_mp.cli.options import JsonOption, ProjectOption, YesOption, number
from jfr_mp.cli.printing import doing, print_json
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import ExitCode, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project
    from jfr_mp.model import JobInfo

#: Acts on one job by its db_id, waiting so many seconds for a process that works on it.
Act = Callable[["JobController", str, int], object]


class Manner(NamedTuple):
    """How an action is done.

    Parameters
    ----------
    wait
        The seconds for which it waits for the lock of a job.
    confirmed
        Whether it acts on several jobs without asking.
    as_json
        Whether it prints JSON.
    """

    wait: int
    confirmed: bool
    as_json: bool


def manner(
    wait: Annotated[
        int, number("--wait", "-w", text="How long to wait while a process works on a job.", unit="SECONDS")
    ] = 30,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> Manner:
    """Return how an action is done."""
    return Manner(wait, yes, as_json)


MannerOptions = Annotated[Manner, Options(manner)]


def act_on(project: Project, jobs: JobChoice, name: str, act: Act, how: Manner) -> None:
    """Act on each of the chosen jobs, and print what became of it.

    Raises
    ------
    JfrMpError
        The only job does not allow it. Of several jobs, one that does not stops no other.
    """
    rows: list[dict[str, str | None]] = []
    with job_controller(project) as controller:
        chosen = jobs.jobs(controller)
        if jobs.one is None and not how.confirmed:
            _confirm(name, chosen)
        for job in chosen:
            error = None
            try:
                with doing(f"{name} {job.db_id}"):
                    act(controller, job.db_id, how.wait)
            except JfrMpError as refusal:
                if jobs.one is not None:
                    raise
                error = str(refusal)
            rows.append(_row(controller, job, error))
    _print(rows, jobs, as_json=how.as_json)
    if any(row["error"] for row in rows):
        raise typer.Exit(ExitCode.ERROR)


def _confirm(name: str, jobs: list[JobInfo]) -> None:
    if not sys.stdin.isatty():
        raise JfrMpError(f"{len(jobs)} jobs are selected; use --yes to {name} them without confirmation")
    typer.confirm(f"{name} {len(jobs)} jobs?", abort=True, err=True)


def _row(controller: JobController, job: JobInfo, error: str | None) -> dict[str, str | None]:
    from jfr_mp.database import queries

    now = queries.job_info(controller.db, db_id=job.db_id)
    return {"db_id": job.db_id, "before": job.state.name, "after": now.state.name if now else None, "error": error}


def _print(rows: list[dict[str, str | None]], jobs: JobChoice, *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["error"] is None:
            typer.echo(f"Job {row['db_id']}: {row['before']} -> {row['after']}")
        else:
            warn(row["error"])
    if jobs.one is None:
        typer.echo(f"{sum(row['error'] is None for row in rows)} of {len(rows)} jobs.")


class JobAction(NamedTuple):
    """An action without options of its own.

    Parameters
    ----------
    names
        The name of its command, and further names for the same.
    act
        What it does.
    text
        Its help.
    """

    names: tuple[str, ...]
    act: Act
    text: str


ACTIONS = (
    JobAction(
        ("stop", "cancel"),
        lambda controller, db_id, wait: controller.stop_job(db_id=db_id, wait=wait),
        """Stop jobs that are READY or on their way, and cancel them at their scheduler. They become USER_STOPPED.

        Jobs that depend on them stay WAITING. If the host of a job is unreachable, its process goes on, and a warning
        says so.
        """,
    ),
    JobAction(
        ("pause",),
        lambda controller, db_id, wait: controller.pause_job(db_id=db_id, wait=wait),
        """Keep jobs that are READY or WAITING from starting until they are resumed.""",
    ),
    JobAction(
        ("resume",),
        lambda controller, db_id, wait: controller.resume_job(db_id=db_id, wait=wait),
        """Resume jobs that were paused or stopped: they start, or wait for the jobs that they depend on.""",
    ),
    JobAction(
        ("retry",),
        lambda controller, db_id, wait: controller.retry_job(db_id=db_id, wait=wait),
        """Retry at once the step that failed, of jobs in REMOTE_ERROR or waiting for their next attempt.

        To run a job that is FAILED, or to run one from the beginning, use `jfr-mp job rerun`.
        """,
    ),
)


def add_actions(group: typer.Typer) -> None:
    """Add the commands that act on jobs to a group."""
    for action in ACTIONS:
        name = action.names[0]
        examples = {
            f"jfr-mp job {name} 12": "one job, by its db_id",
            f"jfr-mp job {name} --flow-id 12 --worker cluster": "all jobs that match; asks first",
        }
        command(group, *action.names)(with_examples(examples)(_as_command(action)))
    command(group)(rerun)


def _as_command(action: JobAction) -> Callable[..., None]:
    def act(*, jobs: JobChoiceOptions, how: MannerOptions, project: ProjectOption) -> None:
        act_on(project, jobs, action.names[0], action.act, how)

    act.__doc__ = action.text
    return act


@with_examples(
    {
        "jfr-mp job rerun 12": "one job, by its db_id",
        "jfr-mp job rerun --state FAILED --hours 12": "jobs that failed in the last 12 hours; asks first",
    }
)
def rerun(
    *,
    jobs: JobChoiceOptions,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Whatever the state of the job and of the jobs that depend on it.")
    ] = False,
    no_delete: Annotated[bool, typer.Option("--no-delete", "-nd", help="Keep the files of the earlier run.")] = False,
    how: MannerOptions,
    project: ProjectOption,
) -> None:
    """Run jobs again from the beginning: jobs that are on their way, or that failed or were stopped.

    The jobs that depend on them wait for them again. A job is cancelled at its scheduler first, and its directory is
    removed before it starts again. A job whose children have started, or that was replaced by others, is refused.
    """

    def act(controller: JobController, db_id: str, wait: int) -> object:
        return controller.rerun_job(db_id=db_id, force=force, wait=wait, delete_files=not no_delete)

    act_on(project, jobs, "rerun", act, how)
