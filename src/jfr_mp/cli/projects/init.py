"""``jfr-mp init``: make a project that is ready for use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.options import YesOption
from jfr_mp.cli.printing import doing, styled
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jfr_mp.config import ConfigManager

DEFAULT_NAME = "main"
WORKER = "local"


@with_examples(
    {
        "jfr-mp init": "a project called main",
        "jfr-mp init silicon --work-dir /scratch/me/silicon --yes": "without questions",
    }
)
def init(
    *,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=f"The name of the project; {DEFAULT_NAME} by default.", show_default=False),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            "-w",
            metavar="DIR",
            help="The directory in which jobs run; by default in that of the project.",
        ),
    ] = None,
    yes: YesOption = False,
) -> None:
    """Make a project with a worker on this machine and a MongoDB server of its own, and start the server.

    Nothing that exists is overwritten. On a terminal the command asks for what was not given; with `--yes`, or without
    a terminal, it takes the defaults.
    """
    from jfr_mp.config import ConfigManager, Project
    from jfr_mp.embedded import create

    ask = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    # The file has only what is given here: a new user reads it as a description, not as a list of defaults.
    manager = ConfigManager(exclude_unset=True)
    if name is None:
        name = typer.prompt("Name of the project", default=DEFAULT_NAME) if ask else DEFAULT_NAME
    check_name(name, manager)
    base_dir = manager.projects_folder / name
    if work_dir is None:
        default = base_dir / "work"
        work_dir = Path(typer.prompt("Directory in which jobs run", default=str(default))) if ask else default
    work_dir = work_dir.expanduser().absolute()

    make_work_dir(work_dir)
    with doing("making a database"):
        stores = create(base_dir / "mongod")
    project = Project.model_validate(
        project_document(name, work_dir, stores.queue_store, stores.jobstore, stores.embedded_db)
    )
    manager.create_project(project)
    say_what_next(name, manager.get_project_data(name).filepath, work_dir)


def check_name(name: str, manager: ConfigManager) -> None:
    """Check that a name can be the name of a new project.

    Raises
    ------
    ConfigError
        A project of that name exists, or it cannot be the name of a file.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"{name!r} cannot be the name of a project: it becomes the name of a file")
    names, _ = manager.project_names_from_files(suppress_warnings=True)
    files = [path for ext in manager.projects_ext if (path := manager.projects_folder / f"{name}.{ext}").exists()]
    if name in names or files:
        where = files[0] if files else manager.projects_folder
        raise ConfigError(
            f"project {name} already exists ({where}) and is not changed: "
            "choose another name, as in `jfr-mp init NAME`, or see `jfr-mp project list`"
        )


def make_work_dir(path: Path) -> None:
    """Make the directory in which jobs run.

    Raises
    ------
    ConfigError
        It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the work_dir {path} cannot be made: {error.strerror}; choose another --work-dir") from error


def project_document(
    name: str, work_dir: Path, queue_store: dict[str, Any], jobstore: dict[str, Any], embedded_db: dict[str, Any]
) -> dict[str, Any]:
    """Return the project file of a new project."""
    return {
        "name": name,
        "workers": {WORKER: {"type": "local", "scheduler_type": "shell", "work_dir": str(work_dir)}},
        "queue": {"store": queue_store},
        "jobstore": jobstore,
        "metadata": {"jfr_mp": {"embedded_db": embedded_db}},
    }


def say_what_next(name: str, project_file: Path, work_dir: Path) -> None:
    """Print where everything is, and the next commands."""
    typer.echo(f"Made project {name}: {project_file}")
    typer.echo(
        f"Jobs run in {work_dir}. The MongoDB server of the project is running; `jfr-mp db` starts and stops it.\n"
    )
    typer.echo("Next steps:")
    for command, what in {
        "jfr-mp project check": "check that everything works",
        "jfr-mp start": "start the processes that move jobs",
        "jfr-mp submit flow.py": "submit the flow that flow.py defines",
        "jfr-mp status": "check progress",
    }.items():
        typer.echo(f"{styled(f'  {command:24}', 'bold', sys.stdout)}{what}")
