"""``jfr-mp status``: the processes, and the progress of the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from jfr_mp.cli.commands import with_list
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import JsonOption, ProjectNameOption
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.project_access import load_or_salvage, queue_database
from jfr_mp.cli.tables import counts_text, outage_text, role_sheet, step_text, transfer_text
from jfr_mp.errors import DatabaseError, ExitCode
from jfr_mp.logs import counted
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.bus.messages import MasterStatus
    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.membership.findings import DeploymentFinding, Overview
    from jfr_mp.model import Outage

#: The fields of a registered process in JSON.
_RECORD_FIELDS = (
    *("kind", "name", "host", "machine", "pid", "address", "roles", "state", "version", "python", "config"),
    *("clock_offset", "started_on", "heartbeat", "last_error"),
)


@with_list(
    "Exit codes",
    {
        "0": "a master is running, and no role process has given up",
        "4": "no master is running on this machine, and the database is unavailable",
        "5": "no master is running on any machine",
        "7": "a role process has given up (FATAL): see `jfr-mp logs`",
    },
)
def status(*, as_json: JsonOption = False, project: ProjectNameOption) -> None:
    """Show the masters of a project, their role processes and the number of jobs in each state.

    If the database is down, the masters on this machine are still shown, and "jobs" is null in JSON. Paused workers are
    named. Unavailable hosts
    are listed with the reason and the time of the next attempt; their jobs wait. Transfers that take longer than a
    second are shown with their progress, and steps that take longer than five seconds with their begin and their limit.

    Warnings name what is missing (a role that runs nowhere), odd (different versions, project files or clocks) or a
    ghost (a master that is not heard of, a role process without a master), each with its cure. If the project file is
    broken, the masters on this machine, which go on with the earlier file, are shown before the error.
    """
    known, broken = load_or_salvage(project)
    if broken is not None:
        _show_despite(known, as_json=as_json)
        raise broken
    _show(known, as_json=as_json)


def _show_despite(project: Project, *, as_json: bool) -> None:
    from jfr_mp.supervisor import control

    found = control.masters_here(project)
    masters = [master.row() for master in found]
    if as_json:
        print_json({"project": project.name, "masters": masters, "jobs": None})
    elif masters:
        print_text(f"Project {project.name}")
        print_masters(masters)


def _show(project: Project, *, as_json: bool) -> None:
    from jfr_mp.supervisor import control

    counts: dict[str, int] | None = None
    seen: Overview | None = None
    found = control.masters_here(project)
    try:
        counts, seen, elsewhere = look(project)
        found += elsewhere
    except DatabaseError as error:
        warn(f"jobs cannot be counted, and masters on other machines cannot be listed: {error}")
    masters, outages = [master.row() for master in found], first_outages(found)
    transfers = [transfer for master in found for transfer in master.transfers]
    steps = [step for master in found for step in master.steps]
    if as_json:
        concerning_hosts = {
            "hosts_away": [outage.model_dump(mode="json") for outage in outages],
            "transfers": [transfer.model_dump(mode="json") for transfer in transfers],
            "steps": [step.model_dump(mode="json") for step in steps],
        }
        deployment = {
            "machines": [] if seen is None else [machine_row(seen, record) for record in seen.records],
            "findings": None if seen is None else [asdict(finding) for finding in findings_of(seen)],
            "paused_workers": [each.model_dump(mode="json") for each in seen.paused_workers] if seen else None,
        }
        found_here = {
            "masters": masters,
            "jobs": counts,
            "max_jobs": project.job_limits(),
            **concerning_hosts,
        }
        print_json({"project": project.name, **found_here, **deployment})
    else:
        _print(project, masters, counts)
        for each in seen.paused_workers if seen else ():
            print_text(f"Worker {each.worker}: PAUSED by {each.by}; `jfr-mp resume --worker {each.worker}`")
        for transfer in transfers:
            print_text(f"  {transfer_text(transfer)}")
        for step in steps:
            print_text(f"  {step_text(step)}")
        for outage in outages:
            warn(outage_text(outage))
        for finding in findings_of(seen) if seen else ():
            warn(f"{finding.kind}: {finding.text}. Cure: {finding.cure}")
        for master in found:
            for notice in master.notices:
                warn(f"master on {master.host}, pid {master.pid}: {notice}")
    raise typer.Exit(exit_code(masters, database_answers=counts is not None))


def first_outages(masters: Sequence[MasterStatus]) -> list[Outage]:
    """Return the outage of each host; each process finds it out for itself, and the first one says since when."""
    found = [outage for master in masters for outage in master.outages]
    found.sort(key=lambda outage: outage.since, reverse=True)
    return list({outage.host: outage for outage in found}.values())


def _counts(db: QueueDatabase) -> dict[str, int]:
    """Return the number of jobs in each state that has any, in the order in which a job meets the states."""
    from jfr_mp.database.queries import count_jobs_states

    counts = count_jobs_states(db, list(JobState))
    return {state.name: counts[state] for state in JobState if counts.get(state)}


def look(project: Project) -> tuple[dict[str, int], Overview, list[MasterStatus]]:
    """Return the number of jobs in each state, the registry of processes, and the masters on other machines."""
    from jfr_mp.membership.records import masters_elsewhere, overview

    with queue_database(project) as db:
        return _counts(db), overview(db), masters_elsewhere(db)


def machine_row(seen: Overview, record: ProcessRecord) -> dict[str, Any]:
    """Return the row of a registered process for JSON."""
    row = record.model_dump(mode="json", include=set(_RECORD_FIELDS))
    heard = {"silent_s": round(seen.silence.get(record.id, 0.0), 1), "reachable": seen.is_heard(record)}
    return {**row, **heard, "jobs": [step.db_id for step in record.steps if step.db_id]}


def findings_of(seen: Overview) -> list[DeploymentFinding]:
    """Return what is wrong with the deployment."""
    from jfr_mp.membership.findings import findings

    return findings(seen)


def exit_code(masters: Sequence[Mapping[str, Any]], *, database_answers: bool) -> ExitCode:
    """Return the exit code for the status rows of all masters."""
    if any(role["state"] == "FATAL" for master in masters for role in master["roles"]):
        return ExitCode.START_FAILED
    if masters:
        return ExitCode.OK
    return ExitCode.NOT_RUNNING if database_answers else ExitCode.DATABASE


def print_masters(masters: Sequence[Mapping[str, Any]]) -> None:
    """Print the status rows of masters."""
    for master in masters:
        print_sheet(role_sheet(master["roles"]), f"Master on {master['host']}, pid {master['pid']}: {master['state']}")
    if not masters:
        typer.echo("No master is running. Start one with `jfr-mp start`.")


def _print(project: Project, masters: Sequence[Mapping[str, Any]], counts: Mapping[str, int] | None) -> None:
    print_text(f"Project {project.name}")
    print_masters(masters)
    if counts is not None:
        typer.echo(f"Jobs: {counts_text(counts)}")
    for worker, most in project.job_limits().items():
        print_text(f"Worker {worker}: at most {counted(most, 'job')} at once")
