"""``jfr-mp project worker list`` and ``exec_config list``: what a project file defines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from jfr_mp.cli.commands import command, new_group
from jfr_mp.cli.options import JsonOption, ProjectOption, VerbosityOption
from jfr_mp.cli.printing import print_details, print_json, print_sheet, print_text
from jfr_mp.cli.tables import Cell, Column, Sheet, details

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Fields that are not shown.
_SECRETS = ("password", "passphrase", "connect_kwargs")
#: The fields of an exec_config, which are columns of their own.
_EXECUTION = ("modules", "export", "pre_run", "post_run")


def add_contents(group: typer.Typer) -> None:
    """Add the commands to a group."""
    workers = new_group("List the workers of a project.")
    command(workers, "list")(list_workers)
    group.add_typer(workers, name="worker")
    configs = new_group("List the execution configs of a project.")
    command(configs, "list")(list_exec_configs)
    group.add_typer(configs, name="exec_config")


def list_workers(*, verbosity: VerbosityOption = 0, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the workers, the first of which is the default; -v shows how they are reached, -vv all their fields."""
    if as_json:
        print_json({name: _shown(worker) for name, worker in project.workers.items()})
        return
    if verbosity > 1:
        _print_all({name: _shown(worker) for name, worker in project.workers.items()})
        return
    titles = (
        ("Name", "Type", "Scheduler", "Host", "Work dir", "Max jobs") if verbosity else ("Name", "Type", "Scheduler")
    )
    rows = [
        (
            name,
            worker.type,
            worker.scheduler_type if isinstance(worker.scheduler_type, str) else str(worker.scheduler_type["@class"]),
            str(getattr(worker, "host", "")),
            str(worker.work_dir),
            "" if worker.max_jobs is None else str(worker.max_jobs),
        )
        for name, worker in project.workers.items()
    ]
    print_sheet(_sheet(titles, rows))


def list_exec_configs(*, verbosity: VerbosityOption = 0, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the execution configs; -v shows what each of them does."""
    shown = {name: _shown(config) for name, config in sorted(project.exec_config.items())}
    if as_json:
        print_json(shown)
    elif verbosity:
        _print_all(shown)
    elif shown:
        print_sheet(_sheet(("Name", "Sets"), [(name, ", ".join(config)) for name, config in shown.items()]))
    else:
        print_text(f"Project {project.name} has no exec_config.")


def _sheet(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Sheet:
    columns = tuple(Column(title, breaks=True) for title in titles)
    return Sheet(columns, tuple(tuple(map(Cell, row[: len(titles)])) for row in rows))


def _print_all(things: Mapping[str, Mapping[str, Any]]) -> None:
    for name, fields in things.items():
        print_text(name, "bold")
        print_details(details(fields))


def _shown(thing: BaseModel) -> dict[str, Any]:
    """Return the fields that have a value, without passwords."""
    fields = thing.model_dump(mode="json", exclude_none=True)
    return {name: _without_secrets(value) for name, value in fields.items() if name not in _SECRETS}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items() if key not in _SECRETS}
    return value
