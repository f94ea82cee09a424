"""``jfr-mp admin``: repairs that running processes also do by themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.admin_database import add_database_commands
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.printing import print_json, print_text
from jfr_mp.cli.project_access import job_controller

if TYPE_CHECKING:
    from jfr_mp.database.reconcile import Finding
    from jfr_mp.database.stale_locks import StaleLock

app = new_group("Repair, reset and index the queue.")


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
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Repair what dead processes have left in the queue: stale locks, and flows whose completion was cut off.

    Running processes repair this themselves periodically; this command can run beside them.
    """
    from jfr_mp.database.reconcile import Reconciler
    from jfr_mp.database.stale_locks import free_stale_locks, stale_locks
    from jfr_mp.identity import new_owner

    with job_controller(project) as controller:
        locks = stale_locks(controller.db, foreign_too=break_locks)
        if not dry_run:
            free_stale_locks(controller.db, locks)
        reconciler = Reconciler(controller.db, new_owner(), dry_run=dry_run)
        findings = [finding for uuid in reconciler.flows(ended_too=True) for finding in reconciler.examine(uuid)]
    if as_json:
        print_json({"locks": [asdict(lock) for lock in locks], "flows": [asdict(finding) for finding in findings]})
    else:
        _print(locks, findings, dry_run=dry_run)


def _print(locks: list[StaleLock], findings: list[Finding], *, dry_run: bool) -> None:
    for lock in locks:
        done = "would be broken" if dry_run else "broken"
        print_text(f"{lock.collection} {lock.id}: lock {lock.lock_id} of {lock.lock_time} UTC {done}: {lock.why}")
    for finding in findings:
        print_text(f"flow {finding.flow}: {finding.problem}; {'done' if finding.repaired else 'to do'}: {finding.cure}")
    if not locks and not findings:
        typer.echo("Nothing to repair.")


add_database_commands(app)
