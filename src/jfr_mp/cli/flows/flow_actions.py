"""``jfr-mp flow delete | clean | resume | set store``: what a user has done to flows."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.bulk import BreakLockOption, WaitOption, confirm
from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.filters import FlowFilterOptions
from jfr_mp.cli.flow_choice import FlowArguments, chosen_flow, matching_flows
from jfr_mp.cli.jobs.job_deletion import ExtentOptions, check_cleaning, removable
from jfr_mp.cli.options import (
    DeprecatedForceOption,
    DryRunOption,
    JsonOption,
    ProjectOption,
    VerbosityOption,
    YesOption,
    number,
)
from jfr_mp.cli.printing import doing, print_json, print_sheet
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import counts_text, flow_sheet
from jfr_mp.errors import ExitCode, JfrMpError, NotAllowed
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.model import FlowInfo, JobInfo


class FlowManner(NamedTuple):
    """How an action on flows is done; see `jfr_mp.cli.bulk.Manner`."""

    confirmed: bool
    dry_run: bool
    verbosity: int
    as_json: bool


def flow_manner(
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
) -> FlowManner:
    """Return how an action on flows is done."""
    return FlowManner(yes, dry_run, verbosity, as_json)


FlowMannerOptions = Annotated[FlowManner, Options(flow_manner)]


class Limits(NamedTuple):
    """What a deletion of flows respects.

    Parameters
    ----------
    max_flows
        The largest number of flows; 0 for no limit.
    parameters
        Parameters of `JobController.delete_flow`.
    """

    max_flows: int
    parameters: dict[str, Any]


def limits(
    max_flows: Annotated[
        int, number("--max", "-m", text="Delete nothing if more flows than this are selected; 0 for no limit.")
    ] = 10,
    keep_processes: Annotated[
        bool, typer.Option("--keep-processes", "-kp", help="Do not cancel jobs at their scheduler.")
    ] = False,
    wait: WaitOption = 30,
    break_lock: BreakLockOption = False,
    force: DeprecatedForceOption = False,
) -> Limits:
    """Return what a deletion of flows respects."""
    return Limits(max_flows, {"cancel_processes": not keep_processes, "wait": wait, "break_lock": break_lock})


LimitsOptions = Annotated[Limits, Options(limits)]


def add_actions(group: typer.Typer) -> None:
    """Add the commands that act on flows to a group."""
    command(group)(delete)
    command(group)(clean)
    command(group)(resume)
    properties = new_group("Set properties of a flow that has not started.")
    command(properties, "store")(set_store)
    group.add_typer(properties, name="set")


@with_examples(
    {
        "jfr-mp flow delete --flow-id 12 --all": "the flow of job 12, with its outputs and run directories",
        "jfr-mp flow delete --state COMPLETED --dry-run": "list what would be deleted",
    }
)
def delete(
    *,
    flows: FlowFilterOptions,
    what: ExtentOptions,
    limits: LimitsOptions,
    how: FlowMannerOptions,
    project: ProjectOption,
) -> None:
    """Delete flows with all their jobs, for good. Jobs that are on their way are cancelled at their scheduler.

    A flow goes as a whole or stays as it is: while a process works on it, or if its files cannot be deleted, it stays.
    """
    rows: list[dict[str, str | None]] = []
    with job_controller(project) as controller:
        chosen = matching_flows(controller, flows)
        if limits.max_flows and len(chosen) > limits.max_flows:
            raise NotAllowed(
                f"{counted(len(chosen), 'flow')} selected, more than --max {limits.max_flows}; nothing was deleted"
            )
        if _only_list(chosen, "delete", how):
            return
        for flow in chosen:
            error = None
            try:
                with doing(f"deleting {flow.name}"):
                    controller.delete_flow(
                        flow.flow_id,
                        **what._asdict(),
                        **limits.parameters,
                    )
            except JfrMpError as refusal:
                error = str(refusal)
            rows.append({"flow_id": flow.flow_id, "name": flow.name, "error": error})
    _print(rows, how, lambda row: f"Deleted flow {row['flow_id']} ({row['name']})")


@with_examples({"jfr-mp flow clean --days 30 --dry-run": "list the directories of a month that would be deleted"})
def clean(
    *,
    flows: FlowFilterOptions,
    all_states: Annotated[bool, typer.Option("--all-states", "-as", help="Of jobs in any state.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="With --all-states: even if processes of the project are running.")
    ] = False,
    how: FlowMannerOptions,
    project: ProjectOption,
) -> None:
    """Delete the run directories of the jobs of flows that have ended; the jobs and their outputs stay."""
    with job_controller(project) as controller:
        check_cleaning(controller, all_states=all_states, force=force)
        chosen = matching_flows(controller, flows)
        jobs: list[JobInfo] = [job for flow in chosen for job in flow.jobs_info or ()]
        free, kept = removable(jobs, all_states=all_states)
        if _only_list(chosen, f"delete {counted(len(free), 'run directory')} of", how):
            return
        rows: list[dict[str, str | None]] = []
        for job in free:
            error = None
            try:
                with doing(f"deleting {job.run_dir}"):
                    if not controller.remove_run_dir(job.worker, job.run_dir or ""):
                        continue
            except JfrMpError as refusal:
                error = str(refusal)
            rows.append({"db_id": job.db_id, "run_dir": job.run_dir, "error": error})
    if kept:
        states = counts_text(Counter(job.state.name for job in kept))
        warn(f"{counted(len(kept), 'directory')} may still be needed ({states}); --all-states deletes these, too")
    _print(rows, how, lambda row: f"Deleted {row['run_dir']}")


@with_examples({"jfr-mp flow resume 12": "the flow of job 12"})
def resume(
    *,
    flow: FlowArguments,
    wait: WaitOption = 30,
    break_lock: BreakLockOption = False,
    project: ProjectOption,
) -> None:
    """Resume all jobs of a flow that were paused or stopped: they start, or wait for the jobs that they depend on."""
    with chosen_flow(project, flow) as (controller, uuid):
        number = controller.resume_flow(flow_id=uuid, wait=wait, break_lock=break_lock)
    typer.echo(f"{counted(number, 'job')} resumed.")


@with_examples(
    {
        "jfr-mp flow set store 12 archive": "an optional JobStore, for the flow of job 12",
        "jfr-mp flow set store 12": "the default JobStore",
    }
)
def set_store(
    *,
    flow: FlowArguments,
    store: Annotated[
        str | None, typer.Argument(metavar="[STORE]", help="An optional JobStore; none for the default one.")
    ] = None,
    project: ProjectOption,
) -> None:
    """Choose the JobStore for the outputs of a flow that has not started."""
    with chosen_flow(project, flow) as (controller, uuid):
        controller.set_flow_store(store, flow_id=uuid)
    typer.echo(f"Flow {uuid}: its outputs go to {store or 'the default JobStore'}.")


def _only_list(flows: Sequence[FlowInfo], name: str, how: FlowManner) -> bool:
    """List flows before an action on them; return whether that is all that the user wants.

    Raises
    ------
    JfrMpError
        The user has not confirmed, and there is no terminal to ask on.
    """
    many = counted(len(flows), "flow")
    if how.dry_run and how.as_json:
        print_json([{"flow_id": flow.flow_id, "name": flow.name, "error": None} for flow in flows])
    elif how.dry_run or (not how.confirmed and sys.stdin.isatty()):
        print_sheet(flow_sheet(flows, how.verbosity))
    if how.dry_run:
        if not how.as_json:
            typer.echo(f"Dry run: would {name} {many}; nothing was changed.")
        return True
    if not how.confirmed:
        confirm(f"{name} {many}")
    return False


def _print(
    rows: Sequence[dict[str, str | None]], how: FlowManner, text: Callable[[dict[str, str | None]], str]
) -> None:
    if how.as_json:
        print_json(rows)
    else:
        for row in rows:
            if row["error"] is None:
                typer.echo(text(row))
            else:
                warn(row["error"])
        typer.echo(f"{sum(row['error'] is None for row in rows)} of {len(rows)} done.")
    if any(row["error"] for row in rows):
        raise typer.Exit(ExitCode.ERROR)
