"""``jfr-mp admin``: what the processes do by themselves, done by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import print_json
from jfr_mp.cli.session import job_controller, load_project

app = typer.Typer(no_args_is_help=True, help="Repair the queue.")

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what is wrong and change nothing.")]
BreakLocksOption = Annotated[
    bool,
    typer.Option(
        "--break-locks", help="Also break the locks of jobflow-remote. Nothing of it may be running on this database."
    ),
]


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


@app.command()
@with_examples(
    {
        "jfr-mp admin reconcile --dry-run": "what is wrong",
        "jfr-mp admin reconcile": "repair it",
        "jfr-mp admin reconcile --break-locks": "the same after jobflow-remote was killed",
    }
)
def reconcile(
    dry_run: DryRunOption = False,
    break_locks: BreakLocksOption = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Repair what processes that died have left in the queue: locks, and flows that are half done.

    Running processes do so by themselves, now and then. It can be run beside them.
    """
    from jfr_mp.database.reconcile import Reconciler
    from jfr_mp.database.stale_locks import free_stale_locks, stale_locks
    from jfr_mp.identity import new_owner

    with job_controller(load_project(project)) as controller:
        locks = stale_locks(controller.db, foreign_too=break_locks)
        if not dry_run:
            free_stale_locks(controller.db, locks)
        reconciler = Reconciler(controller.db, new_owner(), dry_run=dry_run)
        findings = [finding for uuid in reconciler.flows(ended_too=True) for finding in reconciler.examine(uuid)]
    if as_json:
        print_json({"locks": [asdict(lock) for lock in locks], "flows": [asdict(finding) for finding in findings]})
        return
    for lock in locks:
        done = "would be broken" if dry_run else "broken"
        typer.echo(f"{lock.collection} {lock.id}: lock {lock.lock_id} of {lock.lock_time} UTC {done}: {lock.why}")
    for finding in findings:
        typer.echo(f"flow {finding.flow}: {finding.problem}; {'done' if finding.repaired else 'to do'}: {finding.cure}")
    if not locks and not findings:
        typer.echo("Nothing to repair.")
