"""``jfr-mp job stop | pause | resume | retry | rerun``: what a person orders for one job, or for many."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.complaints import warn, warnings_shown
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.job_choice import IndexArgument, job_named
from jfr_mp.cli.options import (
    DaysOption,
    DbIdsOption,
    FlowIdsOption,
    HoursOption,
    JobStatesOption,
    JsonOption,
    NameOption,
    ProjectOption,
    StartDateOption,
    WorkersOption,
    since,
)
from jfr_mp.cli.output import doing, print_json
from jfr_mp.cli.session import job_controller, load_project
from jfr_mp.errors import ExitCode, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

OneJobArgument = Annotated[
    str | None, typer.Argument(metavar="ID", help="The db_id of a job, or its uuid. Many are chosen by options.")
]
WaitOption = Annotated[
    int, typer.Option("--wait", "-w", min=0, metavar="SECONDS", help="How long to wait while a process works on a job.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Whatever the state of the job and of those that depend on it.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it for many jobs without being asked.")]
NoDeleteOption = Annotated[bool, typer.Option("--no-delete", "-nd", help="Leave the files of the earlier run.")]

#: Gives an order for one job by its db_id, waiting so many seconds where somebody works on it.
Order = Callable[["JobController", str, int], object]


class Choice:
    """The jobs that a person means: one by its id, or many by conditions.

    Parameters
    ----------
    project
        The project, or None for the one of the settings.
    job, index
        One job.
    conditions
        Those of `JobController.get_jobs_info`.
    """

    def __init__(self, project: str | None, job: str | None, index: int | None, **conditions: object) -> None:
        self.project = load_project(project)
        self._one = (job, index)
        self._conditions = {name: value for name, value in conditions.items() if value}
        if (job is None) == (not self._conditions):
            raise typer.BadParameter("name one job, or choose some by options such as --flow-id and --state")

    def jobs(self, controller: JobController) -> list[JobInfo]:
        """Return them, oldest first."""
        job, index = self._one
        if job is not None:
            return [job_named(controller, job, index)]
        oldest_first = [("created_on", 1), ("db_id", 1)]
        return controller.get_jobs_info(**self._conditions, sort=oldest_first)  # type: ignore[arg-type]

    @property
    def is_one(self) -> bool:
        """Whether it is one job, named by its id."""
        return self._one[0] is not None


def give(order: Order, name: str, choice: Choice, *, wait: int, yes: bool, as_json: bool) -> None:
    """Give an order for each of the chosen jobs, and say what became of it.

    Raises
    ------
    JfrMpError
        It is one job, and it cannot follow. Of many, those that cannot stop no other.
    """
    rows: list[dict[str, str | None]] = []
    with job_controller(choice.project) as controller, warnings_shown():
        jobs = choice.jobs(controller)
        if not choice.is_one and not yes:
            _ask(name, jobs)
        for job in jobs:
            error = None
            try:
                with doing(f"{name} {job.db_id}"):
                    order(controller, job.db_id, wait)
            except JfrMpError as refused:
                if choice.is_one:
                    raise
                error = str(refused)
            rows.append(_row(controller, job, error))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            if row["error"] is None:
                typer.echo(f"Job {row['db_id']} was {row['before']} and is {row['after']}.")
            else:
                warn(str(row["error"]))
        if not choice.is_one:
            typer.echo(f"{sum(row['error'] is None for row in rows)} of {len(rows)} jobs.")
    if any(row["error"] for row in rows):
        raise typer.Exit(ExitCode.ERROR)


def _ask(name: str, jobs: list[JobInfo]) -> None:
    if not sys.stdin.isatty():
        raise JfrMpError(f"{len(jobs)} jobs were chosen; say --yes to {name} them without being asked")
    typer.confirm(f"{name} {len(jobs)} jobs?", abort=True, err=True)


def _row(controller: JobController, job: JobInfo, error: str | None) -> dict[str, str | None]:
    now = controller.get_job_info(db_id=job.db_id)
    return {"db_id": job.db_id, "before": job.state.name, "after": now.state.name if now else None, "error": error}


def _command(name: str, order: Order, text: str) -> Callable[..., None]:
    """Return the command that gives an order without further options."""

    def command(  # noqa: PLR0913, PLR0917 (one parameter for each option)
        job: OneJobArgument = None,
        index: IndexArgument = None,
        db_ids: DbIdsOption = None,
        flow_ids: FlowIdsOption = None,
        states: JobStatesOption = None,
        workers: WorkersOption = None,
        pattern: NameOption = None,
        start_date: StartDateOption = None,
        days: DaysOption = None,
        hours: HoursOption = None,
        wait: WaitOption = 30,
        yes: YesOption = False,
        as_json: JsonOption = False,
        project: ProjectOption = None,
    ) -> None:
        choice = Choice(
            project,
            job,
            index,
            db_ids=db_ids,
            flow_ids=flow_ids,
            states=states,
            workers=workers,
            name=pattern,
            start_date=since(start_date, days, hours),
        )
        give(order, name, choice, wait=wait, yes=yes, as_json=as_json)

    command.__doc__ = text
    return with_examples(
        {
            f"jfr-mp job {name} 12": "one job, by its db_id",
            f"jfr-mp job {name} --flow-id 12 --worker cluster": "those that match; asks first",
        }
    )(command)


stop = _command(
    "stop",
    lambda controller, db_id, wait: controller.stop_job(db_id=db_id, wait=wait),
    """Stop jobs that are READY or on their way, and cancel them at their scheduler. They are USER_STOPPED then.

    Jobs that depend on them stay WAITING. What runs on a host that does not answer goes on, and a warning says so.
    """,
)
pause = _command(
    "pause",
    lambda controller, db_id, wait: controller.pause_job(db_id=db_id, wait=wait),
    """Keep jobs that are READY or WAITING from starting, until they are resumed.""",
)
resume = _command(
    "resume",
    lambda controller, db_id, wait: controller.resume_job(db_id=db_id, wait=wait),
    """Let jobs that were paused or stopped start, or wait for those that they depend on.""",
)
retry = _command(
    "retry",
    lambda controller, db_id, wait: controller.retry_job(db_id=db_id, wait=wait),
    """Try again at once what failed: the last step of a job in REMOTE_ERROR, or one that waits for its next attempt.

    For a job that has FAILED, or that is to begin from the beginning, see `jfr-mp job rerun`.
    """,
)


@with_examples(
    {
        "jfr-mp job rerun 12": "one job, by its db_id",
        "jfr-mp job rerun --state FAILED --hours 12": "those that failed in the last 12 hours; asks first",
    }
)
def rerun(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    job: OneJobArgument = None,
    index: IndexArgument = None,
    db_ids: DbIdsOption = None,
    flow_ids: FlowIdsOption = None,
    states: JobStatesOption = None,
    workers: WorkersOption = None,
    pattern: NameOption = None,
    start_date: StartDateOption = None,
    days: DaysOption = None,
    hours: HoursOption = None,
    force: ForceOption = False,
    no_delete: NoDeleteOption = False,
    wait: WaitOption = 30,
    yes: YesOption = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Run jobs again from the beginning, those on their way and those that ended badly.

    What depends on them waits for that. A job is cancelled at its scheduler first, and its directory is removed before
    it starts again. A job whose children have started, or that has been replaced by others, is not run again.
    """
    choice = Choice(
        project,
        job,
        index,
        db_ids=db_ids,
        flow_ids=flow_ids,
        states=states,
        workers=workers,
        name=pattern,
        start_date=since(start_date, days, hours),
    )

    def order(controller: JobController, db_id: str, wait: int) -> object:
        return controller.rerun_job(db_id=db_id, force=force, wait=wait, delete_files=not no_delete)

    give(order, "rerun", choice, wait=wait, yes=yes, as_json=as_json)
