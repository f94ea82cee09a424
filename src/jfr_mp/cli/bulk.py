"""Acting on several jobs or flows: what is chosen is listed, asked for, and done one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import DryRunOption, JsonOption, VerbosityOption, YesOption, number
from jfr_mp.cli.printing import doing, print_json, print_sheet
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import job_sheet
from jfr_mp.errors import ExitCode, JfrMpError
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.cli.job_choice import JobChoice
    from jfr_mp.config import Project
    from jfr_mp.model import JobInfo

#: How many jobs or flows are listed before a question, unless -v asks for all.
_LISTED = 20


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
    dry_run
        Whether it only lists what it would act on.
    raise_on_error
        Whether the first job that refuses ends it.
    verbosity
        How much of each job is listed.
    break_lock
        Whether it takes locks that another process holds.
    """

    wait: int = 30
    confirmed: bool = False
    as_json: bool = False
    dry_run: bool = False
    raise_on_error: bool = False
    verbosity: int = 0
    break_lock: bool = False

    @property
    def locking(self) -> dict[str, Any]:
        """The parameters `wait` and `break_lock` of `JobController`."""
        return {"wait": self.wait, "break_lock": self.break_lock}


#: Acts on one job by its db_id.
Act = Callable[["JobController", str, Manner], object]

WaitOption = Annotated[
    int, number("--wait", "-w", text="How long to wait while a process works on a job.", unit="SECONDS")
]
BreakLockOption = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        "-bl",
        help="Take locks that another process holds. Only if no process works on the job any more.",
    ),
]


def manner_without_break(
    wait: WaitOption = 30,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    raise_on_error: Annotated[
        bool, typer.Option("--raise-on-error", "-re", help="Stop at the first job that refuses.")
    ] = False,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
) -> Manner:
    """Return how an action is done that respects locks."""
    return Manner(wait, yes, as_json, dry_run, raise_on_error, verbosity)


def manner(
    how: Annotated[Manner, Options(manner_without_break)],
    break_lock: BreakLockOption = False,
) -> Manner:
    """Return how an action is done."""
    return how._replace(break_lock=break_lock)


MannerOptions = Annotated[Manner, Options(manner)]
MannerWithoutBreakOptions = Annotated[Manner, Options(manner_without_break)]


def act_on(project: Project, jobs: JobChoice, name: str, act: Act, how: Manner, *, asks: bool = False) -> None:
    """Act on each of the chosen jobs, and print what became of it.

    Parameters
    ----------
    asks
        Whether the user is asked on a terminal even if only one job is named.

    Raises
    ------
    JfrMpError
        The only job does not allow it, or no job matches. Of several jobs, one that does not stops no other.
    """
    rows: list[dict[str, str | None]] = []
    with job_controller(project) as controller:
        chosen = jobs.jobs(controller)
        if how.dry_run:
            _list_only(name, chosen, how)
            return
        if not how.confirmed and (jobs.one is None or (asks and sys.stdin.isatty())):
            _list(chosen, how)
            confirm(f"{name} {counted(len(chosen), 'job')}")
        for job in chosen:
            error = None
            try:
                with doing(f"{name} {job.db_id}"):
                    act(controller, job.db_id, how)
            except JfrMpError as refusal:
                if jobs.one is not None:
                    raise
                error = str(refusal)
            rows.append(_row(controller, job, error))
            if error and how.raise_on_error:
                break
    _print(rows, jobs, of=len(chosen), as_json=how.as_json)
    if any(row["error"] for row in rows):
        raise typer.Exit(ExitCode.ERROR)


def confirm(what: str) -> None:
    """Ask the user to confirm, such as ``delete 3 flows``.

    Raises
    ------
    JfrMpError
        There is no terminal to ask on.
    click.Abort
        The user says no.
    """
    if not sys.stdin.isatty():
        raise JfrMpError(f"to {what} without confirmation, use --yes; to list what is selected, use --dry-run")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)


def _list_only(name: str, jobs: Sequence[JobInfo], how: Manner) -> None:
    if how.as_json:
        states = ((job.db_id, job.state.name) for job in jobs)
        print_json([{"db_id": db_id, "before": state, "after": state, "error": None} for db_id, state in states])
        return
    print_sheet(job_sheet(jobs, how.verbosity))
    typer.echo(f"Dry run: would {name} {counted(len(jobs), 'job')}; nothing was changed.")


def _list(jobs: Sequence[JobInfo], how: Manner) -> None:
    if not sys.stdin.isatty() or how.as_json:
        return
    shown = jobs if how.verbosity else jobs[:_LISTED]
    print_sheet(job_sheet(shown, how.verbosity))
    if len(shown) < len(jobs):
        typer.echo(f"... and {len(jobs) - len(shown)} more; -v lists all")


def _row(controller: JobController, job: JobInfo, error: str | None) -> dict[str, str | None]:
    from jfr_mp.database import queries

    now = queries.job_info(controller.db, db_id=job.db_id)
    return {"db_id": job.db_id, "before": job.state.name, "after": now.state.name if now else None, "error": error}


def _print(rows: Sequence[dict[str, str | None]], jobs: JobChoice, *, of: int, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["error"] is None:
            typer.echo(f"Job {row['db_id']}: {row['before']} -> {row['after'] or 'deleted'}")
        else:
            warn(row["error"])
    if jobs.one is None:
        typer.echo(f"{sum(row['error'] is None for row in rows)} of {counted(of, 'job')}.")
