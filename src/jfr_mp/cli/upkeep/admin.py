"""``jfr-mp admin``: checking the queue, and repairs that running processes also do by themselves."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import JsonOption, ProjectOption, YesOption, number
from jfr_mp.cli.printing import print_json, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.upkeep.admin_database import add_database_commands
from jfr_mp.cli.upkeep.admin_upgrade import upgrade
from jfr_mp.errors import ExitCode
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.database.invariants import Violation
    from jfr_mp.database.reconcile import Finding
    from jfr_mp.database.stale_locks import StaleLock

#: What `admin check` examines, in the singular.
_SINGULAR = {
    "lost masters": "lost master",
    "leases": "lease",
    "orders": "order",
    "bus keys": "bus key",
    "paused workers": "paused worker",
    "notifications": "notification",
    "auxiliary": "auxiliary document",
    "processes": "process",
    "locks": "lock",
    "batches": "batch",
    "flows": "flow",
    "jobs": "job",
}

app = new_group("Repair, reset and index the queue.")


@command(app)
@with_examples(
    {
        "jfr-mp admin check": "what is wrong, and the command that repairs it",
        "jfr-mp admin check --json": "the same for a program",
    }
)
def check(
    *,
    as_json: JsonOption = False,
    max_results: Annotated[int, number("--max-results", "-m", text="The most findings to show.", least=1)] = 1000,
    project: ProjectOption,
) -> None:
    """Check every job, flow, lock, batch and process in the database against the rules of the state machine.

    Nothing is changed, and processes may be running. The exit code is 1 if anything is wrong.
    """
    from jfr_mp.database.consistency import ConsistencyCheck

    with job_controller(project) as controller:
        checking = ConsistencyCheck(controller.db)
        found = checking.violations()
        shown = []
        for violation in islice(found, max_results):
            shown.append(violation)
            if not as_json:
                _print_violation(violation)
        more = next(found, None) is not None
    if as_json:
        print_json({"examined": checking.examined, "findings": [_named(violation) for violation in shown]})
    else:
        examined = checking.examined.items()
        counts = ", ".join(counted(count, _SINGULAR.get(things, things)) for things, count in examined if count)
        print_text(
            f"{counted(len(shown), 'finding') if shown else 'No findings'}; examined: {counts or 'an empty queue'}."
        )
    if more:
        warn("there are more findings: use --max-results, or repair these first")
    if shown:
        raise typer.Exit(ExitCode.ERROR)


def _named(violation: Violation) -> dict[str, str]:
    fields = asdict(violation)
    del fields["key"]
    return fields


def _print_violation(violation: Violation) -> None:
    print_text(f"{violation.collection} {violation.document}: {violation.problem}")
    print_text(f"    {violation.repair}", "dim")


@command(app)
@with_examples(
    {
        "jfr-mp admin reconcile --dry-run": "show what is wrong",
        "jfr-mp admin reconcile": "repair it",
        "jfr-mp admin reconcile --break-locks": "the same after jobflow-remote was killed",
    }
)
def reconcile(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is wrong and change nothing.")] = False,
    break_locks: Annotated[
        bool,
        typer.Option(
            "--break-locks",
            help="Also break the locks of jobflow-remote. No process of it may be running on this database.",
        ),
    ] = False,
    delete_damaged: Annotated[
        bool,
        typer.Option("--delete-damaged", help="Also delete the documents that cannot be read; asks first."),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Repair what dead processes have left in the queue: stale locks, and flows whose completion was cut off.

    Running processes repair this themselves periodically; this command can run beside them.
    """
    from jfr_mp.database.consistency import ConsistencyCheck
    from jfr_mp.database.processes import evict_expired
    from jfr_mp.database.reconcile import Reconciler
    from jfr_mp.database.setup import ensure_initialised, raise_counter
    from jfr_mp.database.stale_locks import free_stale_locks, stale_locks
    from jfr_mp.identity import new_owner

    if delete_damaged and not (dry_run or yes):
        confirm("delete the documents that cannot be read")
    with job_controller(project) as controller:
        damaged = ConsistencyCheck(controller.db).damaged(delete=not dry_run) if delete_damaged else []
        if not dry_run:
            ensure_initialised(controller.db)
        counter = None if dry_run else raise_counter(controller.db)
        dead = evict_expired(controller.db, dry_run=dry_run)
        locks = stale_locks(controller.db, foreign_too=break_locks)
        if not dry_run:
            free_stale_locks(controller.db, locks)
        reconciler = Reconciler(controller.db, new_owner(), dry_run=dry_run)
        findings = [finding for uuid in reconciler.flows(ended_too=True) for finding in reconciler.examine(uuid)]
    if as_json:
        print_json(
            {
                "locks": [asdict(lock) for lock in locks],
                "flows": [asdict(finding) for finding in findings],
                "processes": dead,
                "next_db_id": counter,
                "damaged": [_named(violation) for violation in damaged],
            }
        )
        return
    others = [f"process {owner} has died: {'to do: evict it' if dry_run else 'evicted'}" for owner in dead]
    done = "to do: delete it" if dry_run else "deleted"
    others += [f"{each.collection} {each.document}: {each.problem}; {done}" for each in damaged]
    if counter is not None:
        others.append(f"the next db_id was already in use; it is {counter} now")
    _print(locks, findings, others, dry_run=dry_run)


def _print(locks: list[StaleLock], findings: list[Finding], others: list[str], *, dry_run: bool) -> None:
    for line in others:
        print_text(line)
    for lock in locks:
        done = "would be broken" if dry_run else "broken"
        print_text(f"{lock.collection} {lock.id}: lock {lock.lock_id} of {lock.lock_time} UTC {done}: {lock.why}")
    for finding in findings:
        print_text(f"flow {finding.flow}: {finding.problem}; {'done' if finding.repaired else 'to do'}: {finding.cure}")
    if not locks and not findings and not others:
        typer.echo("Nothing to repair.")


add_database_commands(app)
command(app)(upgrade)
