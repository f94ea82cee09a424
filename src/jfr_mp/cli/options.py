"""Options that many commands share, with jobflow-remote's names and short flags if it has them too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import OptionRow, Options, TableBuilder
from jfr_mp.cli.completion import complete_project
from jfr_mp.cli.project_access import load_project, load_projects
from jfr_mp.errors import NotFound
from jfr_mp.step_table import ROLES, Role

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: The largest number that an option takes: MongoDB, `datetime` and `deque` are content with it.
MAX_NUMBER = 2**31 - 1
_PROJECT_FLAGS = ("--project", "-p")


class LogLevelName(StrEnum):
    """The log levels of a project file; the configuration's own enumeration costs its import at every ``--help``."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    DEBUG = "debug"


class LogFormatName(StrEnum):
    """How a process in the foreground writes its log."""

    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


class SortField(StrEnum):
    """The fields by which a list can be sorted."""

    CREATED_ON = "created_on"
    UPDATED_ON = "updated_on"
    DB_ID = "db_id"

    def order(self, direction: int) -> tuple[str, int]:
        """Return the order of a query; db_ids are sorted as numbers."""
        from jfr_mp.database.queries import BY_NUMBER

        return (BY_NUMBER if self is SortField.DB_ID else self.value, direction)


_SORT = f"Sort by {', '.join(SortField)}, newest first."


class Page(NamedTuple):
    """Which part of a list is shown.

    Parameters
    ----------
    limit
        The length of the part; 0 for all.
    sort
        The field and the direction, 1 for ascending.
    """

    limit: int
    sort: tuple[str, int]


def whole_number(least: int = 0, most: int = MAX_NUMBER) -> Callable[[str], int]:
    """Return what reads a number within limits, so that no number of the user is out of the range of a library."""

    def read(text: str) -> int:
        try:
            read = int(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a whole number") from None
        if not least <= read <= most:
            raise typer.BadParameter(f"{text} is not between {least} and {most}")
        return read

    return read


def require_directory_of(file: Path) -> None:
    """Check before the work that a file can be written.

    Raises
    ------
    NotFound
        Its directory does not exist.
    """
    if not file.absolute().parent.is_dir():
        raise NotFound(f"{file} cannot be written: there is no directory {file.parent}")


def number(*flags: str, text: str, least: int = 0, unit: str = "N") -> Any:
    """Return a numeric option for typer."""
    return typer.Option(*flags, help=text, parser=whole_number(least), metavar=unit)


def _inherited(context: typer.Context, value: str | None) -> str | None:
    """Fall back on the project chosen before the command, as in ``jfr-mp -p NAME job list``."""
    return value or context.obj


_PROJECT = OptionRow(
    "project",
    _PROJECT_FLAGS,
    "The project to use. Needed only if there are several; JFREMOTE_PROJECT does the same.",
    str | None,
    settings={"metavar": "NAME", "callback": _inherited, "autocompletion": complete_project},
)


def _all_inherited(context: typer.Context, value: list[str] | None) -> list[str]:
    return value or ([context.obj] if context.obj else [])


_PROJECTS = replace(
    _PROJECT,
    name="projects",
    type=list[str] | None,
    settings={"metavar": "NAME", "callback": _all_inherited, "autocompletion": complete_project},
)
_ALL_PROJECTS = OptionRow("all_projects", ("--all-projects",), "All projects of the projects folder.", bool, False)


def _several(given: Mapping[str, Any]) -> list[Project]:
    if not given["all_projects"]:
        return [load_project(name) for name in dict.fromkeys(given["projects"] or [None])]
    if given["projects"]:
        raise typer.BadParameter("give either --project or --all-projects")
    return load_projects()


ProjectNameOption = Annotated[str | None, Options(TableBuilder([_PROJECT], lambda given: given["project"]))]
#: One project or more.
ProjectsOption = Annotated["list[Project]", Options(TableBuilder([_PROJECTS, _ALL_PROJECTS], _several))]
ProjectOption = Annotated["Project", Options(TableBuilder([_PROJECT], lambda given: load_project(given["project"])))]

_LONG_PROJECT = replace(_PROJECT, flags=("--project",))
#: For commands in which jobflow-remote uses -p for something else.
LongProjectOption = Annotated[
    "Project", Options(TableBuilder([_LONG_PROJECT], lambda given: load_project(given["project"])))
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ReportFileOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="Write a page with plots and tables (.html), or the plots alone (.png, .svg or .pdf).",
    ),
]
CountOption = Annotated[bool, typer.Option("--count", help="Print only the number of matches.")]
VerbosityOption = Annotated[
    int, typer.Option("--verbosity", "-v", count=True, help="Show more columns; -vv shows even more.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="List what is selected and change nothing.")]


def _renamed(wanted: bool) -> None:
    if wanted:
        raise typer.BadParameter("use --yes to act without confirmation, and --break-lock, if there is one, for locks")


#: jobflow-remote refuses it, too, where it once meant --yes.
DeprecatedForceOption = Annotated[
    bool, typer.Option("--force", "-f", hidden=True, callback=_renamed, help="Use --yes.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
LogLevelOption = Annotated[
    LogLevelName | None,
    typer.Option(
        "--log-level",
        "-log",
        metavar="LEVEL",
        help="error, warn, info or debug; by default the log_level of the project.",
    ),
]


def page(
    max_results: Annotated[int, number("--max-results", "-m", text="The length of the list; 0 for no limit.")] = 100,
    sort: Annotated[SortField, typer.Option("--sort", metavar="FIELD", help=_SORT)] = SortField.UPDATED_ON,
    reverse: Annotated[bool, typer.Option("--reverse-sort", "-revs", help="Sort oldest first.")] = False,
) -> Page:
    """Return which part of a list is shown."""
    return Page(max_results, sort.order(1 if reverse else -1))


PageOptions = Annotated[Page, Options(page)]


def _role_flags() -> list[OptionRow]:
    return [
        OptionRow(role, (f"--{role}", row.flag), f"Run the role that {row.summary}.", bool, False)
        for role, row in ROLES.items()
    ]


def _role_numbers() -> list[OptionRow]:
    settings = {"parser": whole_number(1), "metavar": "N"}
    return [
        OptionRow(f"num_{role}", (f"--num-{role}",), f"The number of {role} processes.", int | None, None, settings)
        for role, row in ROLES.items()
        if row.scalable
    ]


def wanted_roles(given: dict[str, Any]) -> dict[Role, int]:
    """Return the number of processes of each role that was chosen, in the order in which a job meets the roles.

    Parameters
    ----------
    given
        The values of the flag of each role, of which none means all, and of the numbers.

    Raises
    ------
    typer.BadParameter
        A number was given for a role that was not chosen.
    """
    chosen = [role for role in ROLES if given[role]] or list(ROLES)
    numbers = {role: given.get(f"num_{role}") for role in ROLES}
    for role, count in numbers.items():
        if count is not None and role not in chosen:
            raise typer.BadParameter(f"--num-{role} needs --{role}, because other roles were chosen")
    return {role: numbers[role] or 1 for role in chosen}


RolesOptions = Annotated[dict[Role, int], Options(TableBuilder(_role_flags(), wanted_roles))]
ScaledRolesOptions = Annotated[dict[Role, int], Options(TableBuilder([*_role_flags(), *_role_numbers()], wanted_roles))]
