"""``jfr-mp runner``: jobflow-remote's names of the commands that start and stop the processes, and a few more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.bulk import BreakLockOption, confirm
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import (
    DeprecatedForceOption,
    JsonOption,
    LongProjectOption,
    ProjectOption,
    VerbosityOption,
    YesOption,
)
from jfr_mp.cli.printing import doing, print_details, print_json, print_sheet, print_text
from jfr_mp.cli.processes import lifecycle, status, stopping
from jfr_mp.cli.processes.connect import ConnectOption, connect_all
from jfr_mp.cli.processes.logs import follow_logs
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import Cell, Column, Sheet, clock, details, time_zone
from jfr_mp.cli.upkeep.admin_database import refuse_while_running
from jfr_mp.errors import AlreadyRunning, NotRunning
from jfr_mp.step_table import BATCH, POLL

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController

app = new_group("Start and stop the processes, under the names of jobflow-remote.")

#: What is in the record of a runner beside who it is.
_DETAILS = ("processes_info", "runner_options")
#: What two records of one runner have in common, with its name for the user.
_IDENTITY = {"hostname": "machine", "project_name": "project", "user": "user", "daemon_dir": "daemon directory"}

command(app)(lifecycle.start)
# No daemon outlives a master, so that these three are one.
command(app, "stop", "shutdown", "stop-processes")(stopping.stop)
command(app)(stopping.kill)
command(app)(lifecycle.restart)
command(app)(lifecycle.run)
command(app)(status.status)


@command(app)
@with_examples({"jfr-mp runner info --pings": "also when each runner last said that it was alive"})
def info(
    *,
    verbosity: VerbosityOption = 0,
    pings: Annotated[bool, typer.Option("--pings", "-p", help="Also show the pings of runners, the last 50.")] = False,
    as_json: JsonOption = False,
    project: LongProjectOption,
) -> None:
    """Show the processes, and what the database says of the runner: its machine, its user and its last ping.

    Exit codes: those of `jfr-mp status`. A warning says so if the last ping is that of another runner.
    """
    from jfr_mp.supervisor import control

    with job_controller(project) as controller:
        record, all_pings = controller.get_running_runner(), controller.get_runner_pings()
    masters = [master.row() for master in control.masters(project)]
    if record and not verbosity:
        record = {name: value for name, value in record.items() if name not in _DETAILS}
    if as_json:
        print_json({"masters": masters, "runner": record, **({"pings": all_pings} if pings else {})})
    else:
        status.print_masters(masters)
        if record:
            print_text("Runner in the database", "bold")
            print_details(details(record))
        else:
            typer.echo("The database has no record of a runner.")
        if pings:
            print_sheet(ping_sheet(all_pings), "Pings")
    difference = other_runner(record, all_pings)
    if difference:
        warn(f"the last ping in the database is that of another runner ({difference}): see --pings")
    raise typer.Exit(status.exit_code(masters, database_answers=True))


def ping_sheet(pings: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return the table of pings, the last one first."""
    return Sheet(
        columns=(Column(f"Time [{time_zone()}]"), *(Column(name.capitalize()) for name in _IDENTITY.values())),
        rows=tuple(
            (Cell(clock(ping.get("time"))), *(Cell(str(ping.get(field) or "")) for field in _IDENTITY))
            for ping in reversed(pings)
        ),
    )


def other_runner(record: Mapping[str, Any] | None, pings: Sequence[Mapping[str, Any]]) -> str:
    """Return in which respect the last ping is not of the recorded runner; empty if it is, or if there is none."""
    if not record or not pings:
        return ""
    last = pings[-1]
    return ", ".join(
        f"{what} {last.get(field)}" for field, what in _IDENTITY.items() if last.get(field) != record.get(field)
    )


@command(app)
def foreground(*, connect_interactive: ConnectOption = False, project: ProjectOption) -> None:
    """Show what the processes log until Ctrl-C, after logins at hosts that need them; they go on running after it."""
    from jfr_mp.supervisor import control

    if not any(master.local for master in control.masters(project)):
        raise NotRunning(f"no master of project {project.name} is running on this machine; start one: `jfr-mp start`")
    connect_all(project, needed=connect_interactive)
    follow_logs(project)


@command(app)
def reset(
    *,
    yes: YesOption = False,
    force: DeprecatedForceOption = False,
    break_lock: BreakLockOption = False,
    project: ProjectOption,
) -> None:
    """Remove the record of the running runner from the database, after a daemon of jobflow-remote was killed.

    jfr-mp finds out by itself that its own processes were killed, and needs this command never.
    """
    with job_controller(project) as controller:
        record = controller.get_running_runner()
        if not record:
            typer.echo("The database has no record of a runner; nothing to do.")
            return
        if not yes:
            print_details(details({name: value for name, value in record.items() if name not in _DETAILS}))
            confirm("remove the record of this runner, which must not be running any more")
        refuse_while_alive(controller)
        controller.clean_running_runner(break_lock=break_lock)
    typer.echo("Removed the record of the runner.")


def refuse_while_alive(controller: JobController) -> None:
    """Refuse to act while processes of jfr-mp hold leases; a record of jobflow-remote's daemon proves nothing.

    Raises
    ------
    AlreadyRunning
        Some do.
    """
    from jfr_mp.membership.records import machines_with_masters

    if hosts := machines_with_masters(controller.db):
        raise AlreadyRunning(f"a master is running on {', '.join(hosts)}: stop it there, with `jfr-mp stop`")


@command(app, "update-status")
def update_status(*, open_runner: lifecycle.RunnerOptions, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Ask the schedulers once for the jobs that were submitted, and store which are running or have ended.

    Nothing is submitted, uploaded or downloaded, and nothing may be running: it is meant for the time before an
    upgrade.
    """
    with job_controller(project) as controller:
        refuse_while_running(controller)
        before = {job.db_id: job.state for job in controller.get_jobs_info(states=[*POLL.sources, *BATCH.sources])}
        with doing("asking the schedulers"), open_runner(project) as runner:
            runner.check_run_status()
            runner.update_batch_jobs(submit=False)
        after = {job.db_id: job.state for job in controller.get_jobs_info(db_ids=list(before))} if before else {}
    changed = {db_id: (old.name, after[db_id].name) for db_id, old in before.items() if after.get(db_id, old) != old}
    if as_json:
        print_json([{"db_id": db_id, "before": old, "after": new} for db_id, (old, new) in changed.items()])
        return
    for db_id, (old, new) in changed.items():
        typer.echo(f"Job {db_id}: {old} -> {new}")
    typer.echo(f"Jobs at schedulers: {len(before)}, of which {len(changed)} changed.")
