"""``jfr-mp notify``: the notifications of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.printing import doing, print_json, print_sheet, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import Cell, Column, Sheet, clock, time_zone
from jfr_mp.errors import ConfigError, DeliveryFailed, ExitCode, NotFound

if TYPE_CHECKING:
    from jfr_mp.config.notifications import NotifyOptions
    from jfr_mp.database.notifications import Delivery

app = new_group("List and try the notifications of a project.")

#: How many deliveries are listed.
_DELIVERIES = 10
_STYLES = {"sent": "green", "given_up": "red", "pending": "yellow"}


@command(app, "test")
@with_examples({"jfr-mp notify test": "all targets", "jfr-mp notify test failures": "those of the rule `failures`"})
def try_targets(
    rule: Annotated[str | None, typer.Argument(metavar="RULE", help="The rule whose targets are tried.")] = None,
    *,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Send a test message to the targets of a rule, or to all targets, from this machine.

    Exit codes: 0 if all targets accepted it, 8 if not.
    """
    options = project.jfr_mp.notify
    title = f"[jfr-mp {project.name}] test"
    body = f"This is a test of the notifications of the project {project.name}."
    with doing("sending"):
        errors = {name: _try(options, name, title, body) for name in _targets(options, rule)}
    if as_json:
        print_json([{"target": name, "sent": error is None, "error": error} for name, error in errors.items()])
    else:
        for name, error in errors.items():
            print_text(error or f"{name}: sent", "red" if error else "green")
    if any(errors.values()):
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _targets(options: NotifyOptions, rule: str | None) -> list[str]:
    """Return the names of the targets to try.

    Raises
    ------
    NotFound
        There is no such rule, or no target at all.
    """
    if rule is not None and rule not in options.rules:
        raise NotFound(f"there is no notification rule {rule}; known: {', '.join(options.rules) or 'none'}")
    if not options.targets:
        raise NotFound("the project has no notification target: add one under metadata.jfr_mp.notify.targets")
    return list(options.rules[rule].to if rule else options.targets)


def _try(options: NotifyOptions, name: str, title: str, body: str) -> str | None:
    from jfr_mp.notify.targets import send

    try:
        send(name, options.targets[name], title, body, options.timeout)
    except (ConfigError, DeliveryFailed) as error:
        return str(error)
    return None


@command(app, "list")
def list_notifications(*, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the rules, the targets without their secrets, and the last deliveries."""
    from jfr_mp.database.notifications import Outbox

    with job_controller(project) as controller:
        outbox = Outbox(controller.db)
        waiting, deliveries = outbox.waiting(), outbox.recent(_DELIVERIES)
    options = project.jfr_mp.notify
    targets = {name: _shown(options, name) for name in options.targets}
    if as_json:
        rules = {
            name: {**rule.model_dump(mode="json"), "waiting": waiting.get(name, 0)}
            for name, rule in options.rules.items()
        }
        last = [delivery.as_dict() for delivery in deliveries]
        print_json({"rules": rules, "targets": targets, "deliveries": last})
        return
    if not options.rules:
        print_text("The project has no notification rule; add one under metadata.jfr_mp.notify.rules.")
        return
    rows = [
        (name, ", ".join(rule.on), ", ".join(rule.to), f"{rule.interval:g} s", str(waiting.get(name, 0)))
        for name, rule in options.rules.items()
    ]
    print_sheet(_sheet(("Rule", "On", "To", "Interval", "Waiting"), rows), "Rules")
    print_sheet(_sheet(("Target", "Service"), list(targets.items())), "Targets")
    if deliveries:
        print_sheet(_deliveries(deliveries), "Last deliveries")


def _shown(options: NotifyOptions, name: str) -> str:
    from jfr_mp.notify.targets import address, masked

    try:
        return masked(address(name, options.targets[name]))
    except ConfigError as error:
        return str(error)


def _deliveries(deliveries: list[Delivery]) -> Sheet:
    titles = (f"Time [{time_zone()}]", "Rule", "Target", "State", "Tries", "Message")
    columns = tuple(Column(title, breaks=title == "Message") for title in titles)
    rows = tuple(
        (
            *map(Cell, (clock(each.created_on), each.rule, each.target)),
            Cell(each.state.replace("_", " "), _STYLES[each.state]),
            *map(Cell, (str(each.tries), each.error or each.title)),
        )
        for each in deliveries
    )
    return Sheet(columns, rows)


def _sheet(titles: tuple[str, ...], rows: Any) -> Sheet:
    return Sheet(tuple(Column(title, breaks=True) for title in titles), tuple(tuple(map(Cell, row)) for row in rows))
