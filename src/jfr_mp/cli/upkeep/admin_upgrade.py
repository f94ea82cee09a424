"""``jfr-mp admin upgrade``: bring the database of an earlier version of jobflow-remote to the present layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import Options, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import DryRunOption, JsonOption, ProjectOption, YesOption
from jfr_mp.cli.printing import doing, print_json, print_text, suggest
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.upkeep.admin_database import refuse_while_running
from jfr_mp.errors import NotAllowed

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.database.upgrade import UpgradePlan


class UpgradeRequest(NamedTuple):
    """What an upgrade is to do.

    Parameters
    ----------
    target
        The version; None for the one that jfr-mp uses.
    force
        Whether conditions that are skippable are ignored.
    check_env
        Whether the versions of all packages are compared.
    quiet
        Whether the changes are not listed.
    """

    target: str | None
    force: bool
    check_env: bool
    quiet: bool


def wanted(
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", metavar="VERSION", help="The version; by default the one that jfr-mp uses."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Ignore the conditions that an upgrade can do without.")
    ] = False,
    check_env: Annotated[
        bool,
        typer.Option("--check-env", "-ce", help="Also compare the versions of all packages with the ones used before."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--no-dry-run", "-ndr", help="Do not list the changes first.")] = False,
) -> UpgradeRequest:
    """Return what an upgrade is to do."""
    return UpgradeRequest(target, force, check_env, quiet)


@with_examples(
    {"jfr-mp admin upgrade --dry-run": "list what would change", "jfr-mp backup create before.zip": "before an upgrade"}
)
def upgrade(
    *,
    what: Annotated[UpgradeRequest, Options(wanted)],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Upgrade a database that an earlier version of jobflow-remote has made. Nothing may be running.

    What would change is listed before the question. There is no way back but a backup.
    """
    from jfr_mp.api.upgrade import DatabaseUpgrader

    with job_controller(project) as controller:
        upgrader = DatabaseUpgrader(controller)
        plan = upgrader.plan(target_version=what.target, force=what.force)
        _compare_packages(controller, plan, check_env=what.check_env)
        if not as_json and not what.quiet:
            _print_plan(plan)
        _refuse_violated(plan)
        due = plan.is_due and not dry_run
        if due:
            refuse_while_running(controller)
            if not yes:
                confirm(f"upgrade the database of project {project.name} from {plan.present} to {plan.target}")
            with doing("upgrading"):
                upgrader.upgrade(target_version=what.target, force=what.force)
    if as_json:
        print_json(_as_dict(plan, done=due))
    elif due:
        print_text(f"The database is at version {plan.target} now.")


def _compare_packages(controller: JobController, plan: UpgradePlan, *, check_env: bool) -> None:
    """Warn if the packages with which the database was used had other versions, which may do no harm."""
    texts = [controller.upgrade_check_jobflow()] if plan.is_due else []
    texts += [controller.upgrade_full_check()] if check_env else []
    for text in filter(None, texts):
        warn(text)


def _print_plan(plan: UpgradePlan) -> None:
    if not plan.is_due:
        print_text(f"The database is at version {plan.present}; there is nothing to upgrade.")
        return
    print_text(f"Upgrade from {plan.present} to {plan.target}:", "bold")
    for action in plan.actions:
        print_text(f"  - {action.description}")
    suggest("A backup is the only way back: `jfr-mp backup create FILE.zip`.")


def _refuse_violated(plan: UpgradePlan) -> None:
    """Refuse an upgrade whose conditions are not met.

    Raises
    ------
    NotAllowed
        Some are not.
    """
    if plan.violated:
        reasons = [
            f"version {number} needs that {condition.description}: {text}"
            + ("; --force ignores this" if condition.skippable else "")
            for number, condition, text in plan.violated
        ]
        raise NotAllowed("the database was not upgraded:\n" + "\n".join(reasons))


def _as_dict(plan: UpgradePlan, *, done: bool) -> dict[str, Any]:
    actions = [{"description": each.description, "collection": each.collection} for each in plan.actions]
    return {"from": str(plan.present), "to": str(plan.target), "due": plan.is_due, "done": done, "actions": actions}
