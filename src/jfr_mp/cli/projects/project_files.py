"""``jfr-mp project generate | remove | check-conflicts``: the files of projects."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import command, with_examples
from jfr_mp.cli.completion import complete_project
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import DeprecatedForceOption, JsonOption, YesOption
from jfr_mp.cli.printing import print_json, print_text, suggest
from jfr_mp.errors import AlreadyRunning, ExitCode
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.config import ConfigManager, Project


class FileFormat(StrEnum):
    """The formats of project files."""

    YAML = "yaml"
    JSON = "json"
    TOML = "toml"


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The name of the project.", autocompletion=complete_project)
]


def add_files(group: typer.Typer) -> None:
    """Add the commands to a group."""
    command(group)(generate)
    command(group)(remove)
    command(group, "check-conflicts")(check_conflicts)


@with_examples({"jfr-mp project generate silicon --full": "with all fields and an example of everything"})
def generate(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new project.")],
    file_format: Annotated[
        FileFormat, typer.Option("--format", "-f", metavar="FORMAT", help="yaml, json or toml.")
    ] = FileFormat.YAML,
    full: Annotated[
        bool, typer.Option("--full", help="Write all fields, with a local worker and an exec_config as well.")
    ] = False,
) -> None:
    """Write a project file with examples, to be edited. For a project that works at once, use `jfr-mp init`."""
    from jfr_mp.cli.projects.init import check_name
    from jfr_mp.config import ConfigManager, Project
    from jfr_mp.config.examples import example_project

    manager = ConfigManager(exclude_unset=not full)
    check_name(name, manager)
    manager.create_project(Project.model_validate(example_project(name, full=full)), file_format.value)
    print_text(f"Wrote {manager.get_project_data(name).filepath}")
    suggest(f"Edit it, then test it with `jfr-mp -p {name} project check`.")


@with_examples({"jfr-mp project remove silicon --keep-folders": "only its file"})
def remove(
    *,
    name: NameArgument,
    keep_folders: Annotated[
        bool, typer.Option("--keep-folders", "-k", help="Keep the folders of the project.")
    ] = False,
    yes: YesOption = False,
    force: DeprecatedForceOption = False,
) -> None:
    """Delete the file of a project and its folders. Jobs in a database on a server stay there.

    The folders hold logs, and the database if `jfr-mp init` made it. Nothing of the project may be running.
    """
    from jfr_mp.config import ConfigManager
    from jfr_mp.embedded import EmbeddedMongo
    from jfr_mp.supervisor import control

    manager = ConfigManager()
    data = manager.get_project_data(name)
    if control.masters(data.project):
        raise AlreadyRunning(f"a master of project {name} is running: stop it first, with `jfr-mp -p {name} stop`")
    lost = f"{data.filepath} and {_folders(data.project)}" if not keep_folders else str(data.filepath)
    if not yes:
        confirm(f"delete {lost}")
    if not keep_folders and data.project.jfr_mp.embedded_db is not None:
        EmbeddedMongo(data.project.jfr_mp.embedded_db).stop()
    manager.remove_project(name, remove_folders=not keep_folders)
    print_text(f"Deleted {lost}")


def _folders(project: Project) -> str:
    base = Path(project.base_dir)
    managed = project.jfr_mp.embedded_db is not None
    return f"the folder {base}{', with the database in it' if managed else ''}"


def check_conflicts(*, as_json: JsonOption = False) -> None:
    """Compare all project files, and report what projects share that each must have for itself.

    These are directories, collections of the queue, and the directories through which batches get their jobs. The exit
    code is 8 if there is a conflict.
    """
    from jfr_mp.config import ConfigManager
    from jfr_mp.diagnosis import find_conflicts

    manager = ConfigManager()
    warn_of_broken(manager)
    found = find_conflicts(manager.projects)
    if as_json:
        print_json([asdict(conflict) for conflict in found])
    for conflict in () if as_json else found:
        print_text(f"{conflict.what} is shared by {', '.join(conflict.fields)}", "red")
        print_text(f"  -> {conflict.cure}")
    if found:
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if not as_json:
        print_text(f"No conflict in {counted(len(manager.projects), 'project')}.")


def warn_of_broken(manager: ConfigManager) -> None:
    """Print a warning for each project file that is not valid."""
    for name, error in manager.broken.items():
        warn(f"project {name} is left out: {error}")
