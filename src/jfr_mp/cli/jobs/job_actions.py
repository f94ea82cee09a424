"""``jfr-mp job stop | pause | resume | retry | rerun``: what a user has done to one job or to several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.bulk import Act, Manner, MannerOptions, MannerWithoutBreakOptions, act_on
from jfr_mp.cli.commands import command, with_examples
from jfr_mp.cli.job_choice import JobChoiceOptions
from jfr_mp.cli.options import ProjectOption

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController


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
    breaks_locks
        Whether it can take locks that another process holds.
    hidden
        Names that the help does not list.
    """

    names: tuple[str, ...]
    act: Act
    text: str
    breaks_locks: bool = True
    hidden: tuple[str, ...] = ()


ACTIONS = (
    JobAction(
        ("stop", "cancel"),
        lambda controller, db_id, how: controller.stop_job(db_id=db_id, **how.locking),
        """Stop jobs that are READY or on their way, and cancel them at their scheduler. They become USER_STOPPED.

        Jobs that depend on them stay WAITING. If the host of a job is unreachable, its process goes on, and a warning
        says so.
        """,
    ),
    JobAction(
        ("pause",),
        lambda controller, db_id, how: controller.pause_job(db_id=db_id, wait=how.wait),
        """Keep jobs that are READY or WAITING from starting until they are resumed.""",
        breaks_locks=False,
    ),
    JobAction(
        ("resume",),
        lambda controller, db_id, how: controller.resume_job(db_id=db_id, **how.locking),
        """Resume jobs that were paused or stopped: they start, or wait for the jobs that they depend on.""",
        hidden=("play",),
    ),
    JobAction(
        ("retry",),
        lambda controller, db_id, how: controller.retry_job(db_id=db_id, **how.locking),
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
        function = with_examples(examples)(_as_command(action))
        command(group, *action.names)(function)
        for hidden in action.hidden:
            command(group, hidden, hidden=True)(function)
    command(group)(rerun)


def _as_command(action: JobAction) -> Callable[..., None]:
    def act(*, jobs: JobChoiceOptions, how: MannerOptions, project: ProjectOption) -> None:
        act_on(project, jobs, action.names[0], action.act, how)

    def act_within_locks(*, jobs: JobChoiceOptions, how: MannerWithoutBreakOptions, project: ProjectOption) -> None:
        act_on(project, jobs, action.names[0], action.act, how)

    function = act if action.breaks_locks else act_within_locks
    function.__doc__ = action.text
    return function


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

    def act(controller: JobController, db_id: str, how: Manner) -> object:
        return controller.rerun_job(db_id=db_id, force=force, delete_files=not no_delete, **how.locking)

    act_on(project, jobs, "rerun", act, how)
