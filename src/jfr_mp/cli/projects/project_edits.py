"""``jfr-mp project edit``: change project files."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.options import DeprecatedForceOption, DryRunOption, ProjectNameOption, YesOption
from jfr_mp.cli.printing import print_text, suggest
from jfr_mp.cli.projects.project_files import warn_of_broken
from jfr_mp.errors import NotFound
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.config import ConfigManager

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def add_edits(group: typer.Typer) -> None:
    """Add the commands to a group."""
    edits = new_group("Edit project files.")
    command(edits)(replace)
    group.add_typer(edits, name="edit")


class Replacement(NamedTuple):
    """A text in the place of another one.

    Parameters
    ----------
    old, new
        The texts.
    everywhere
        Whether all project files are meant.
    """

    old: str
    new: str
    everywhere: bool


def replacement(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The text to replace.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new text.")],
    all_projects: Annotated[bool, typer.Option("--all", "-a", help="In the files of all projects.")] = False,
) -> Replacement:
    """Return what is replaced.

    Raises
    ------
    typer.BadParameter
        The old text is empty.
    """
    if not old:
        raise typer.BadParameter("OLD must not be empty")
    return Replacement(old, new, all_projects)


@with_examples(
    {
        "jfr-mp project edit replace old.host new.host": "in the file of the project, after a look at the changes",
        "jfr-mp project edit replace /scratch1 /scratch2 --all --dry-run": "show what would change in all files",
    }
)
def replace(
    *,
    what: Annotated[Replacement, Options(replacement)],
    no_backup: Annotated[
        bool, typer.Option("--no-backup", "-nb", help="Keep no copy of the old file, FILE.bak.1 and so on.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    force: DeprecatedForceOption = False,
    project: ProjectNameOption,
) -> None:
    """Replace a text in project files. A change that would make a file invalid is refused, and nothing is written.

    Processes that run go on with the old file until `jfr-mp restart`.
    """
    from jfr_mp.config import ConfigManager

    manager = ConfigManager()
    if what.everywhere:
        warn_of_broken(manager)
    names = sorted(manager.projects_data) if what.everywhere else [manager.select_project_name(project)]
    changes = _changes(manager, names, what)
    if dry_run or (not yes and sys.stdin.isatty()):
        _print_differences(manager, changes)
    if dry_run:
        return
    if not yes:
        confirm(f"change {counted(len(changes), 'project file')}")
    for name, text in changes.items():
        path = manager.get_project_data(name).filepath
        kept = "" if no_backup else f"; the old file is {manager.backup_project(name)}"
        manager.replace_text(name, text)
        print_text(f"Changed {path}{kept}")
    suggest("Processes that are running go on with the old file until `jfr-mp restart`.")


def _changes(manager: ConfigManager, names: list[str], what: Replacement) -> dict[str, str]:
    """Return the new texts of the files that change, by project; all of them are valid.

    Raises
    ------
    NotFound
        None of the files has the text.
    ConfigError
        A file would not be valid.
    """
    from jfr_mp.config.files import read_text

    paths = {name: manager.get_project_data(name).filepath for name in names}
    texts = {name: read_text(path) for name, path in paths.items()}
    changes = {name: text.replace(what.old, what.new) for name, text in texts.items() if what.old in text}
    if not changes:
        raise NotFound(f"{what.old!r} is not in {', '.join(map(str, paths.values())) or 'any project file'}")
    for name, text in changes.items():
        manager.check_text(name, text)
    return changes


def _print_differences(manager: ConfigManager, changes: dict[str, str]) -> None:
    from jfr_mp.config.files import read_text

    for name, text in changes.items():
        path = manager.get_project_data(name).filepath
        before, after = (each.splitlines() for each in (read_text(path), text))
        for line in difflib.unified_diff(before, after, str(path), str(path), lineterm="", n=1):
            print_text(line, _STYLES.get(line[0], ""))
