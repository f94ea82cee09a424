"""``jfr-mp status``: what runs, and how far the jobs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_list
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import print_json, print_sheet
from jfr_mp.cli.rows import counts_text, outage_text, role_sheet, transfer_text
from jfr_mp.cli.session import job_controller, load_project
from jfr_mp.errors import DatabaseError, ExitCode
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.bus.messages import MasterStatus
    from jfr_mp.config import Project
    from jfr_mp.model import Outage


@with_list(
    "The exit code says it, too",
    {
        "0": "a master runs, and none of its processes has given up",
        "4": "no master runs on this machine, and the database, which knows the others, does not answer",
        "5": "no master runs anywhere",
        "7": "a process has given up (FATAL): its last error and `jfr-mp logs` say why",
    },
)
def status(*, as_json: JsonOption = False, project: ProjectOption = None) -> None:
    """Show the masters of a project, their role processes and the numbers of jobs by state.

    With the database down, the masters of this machine are shown all the same, and "jobs" is null in JSON. Hosts that
    cannot be worked with are named, with the reason and the time of the next try; their jobs wait. Files that have been
    on their way for more than a second are shown with what has arrived.
    """
    from jfr_mp.supervisor import control

    chosen = load_project(project)
    counts: dict[str, int] | None = None
    # Side by side, because each of the two waits for a database that is down.
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count_jobs, chosen)
        found = control.masters(chosen)
        masters = [master.row() for master in found]
        # Each process of a host finds out for itself; the one that found out first says since when.
        outages = {
            outage.host: outage for outage in sorted(_outages(found), key=lambda outage: outage.since, reverse=True)
        }
        transfers = [transfer for master in found for transfer in master.transfers]
        try:
            counts = counting.result()
        except DatabaseError as error:
            warn(f"the jobs cannot be counted, and masters of other machines are not seen: {error}")
    if as_json:
        concerning_hosts = {
            "hosts_away": [outage.model_dump(mode="json") for outage in outages.values()],
            "transfers": [transfer.model_dump(mode="json") for transfer in transfers],
        }
        print_json({"project": chosen.name, "masters": masters, "jobs": counts, **concerning_hosts})
    else:
        _print(chosen.name, masters, counts)
        for transfer in transfers:
            typer.echo(f"  {transfer_text(transfer)}")
        for outage in outages.values():
            warn(outage_text(outage))
    raise typer.Exit(exit_code(masters, database_answers=counts is not None))


def _outages(masters: Sequence[MasterStatus]) -> list[Outage]:
    return [outage for master in masters for outage in master.outages]


def count_jobs(project: Project) -> dict[str, int]:
    """Return the number of jobs in each state that has any, in the order in which a job meets the states."""
    with job_controller(project) as controller:
        counts = controller.count_jobs_states(list(JobState))
    return {state.name: counts[state] for state in JobState if counts.get(state)}


def exit_code(masters: Sequence[Mapping[str, Any]], *, database_answers: bool) -> ExitCode:
    """Return what the status rows of all masters mean to a script."""
    if any(role["state"] == "FATAL" for master in masters for role in master["roles"]):
        return ExitCode.START_FAILED
    if masters:
        return ExitCode.OK
    return ExitCode.NOT_RUNNING if database_answers else ExitCode.DATABASE


def _print(name: str, masters: Sequence[Mapping[str, Any]], counts: Mapping[str, int] | None) -> None:
    typer.echo(f"Project {name}")
    for master in masters:
        print_sheet(role_sheet(master["roles"]), f"Master on {master['host']}, pid {master['pid']}: {master['state']}")
    if not masters:
        typer.echo("Nothing is running. `jfr-mp start` starts it.")
    if counts is not None:
        typer.echo(f"Jobs: {counts_text(counts)}")
