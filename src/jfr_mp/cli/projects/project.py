"""``jfr-mp project``: the project files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.completion import complete_worker
from jfr_mp.cli.options import JsonOption, ProjectNameOption
from jfr_mp.cli.printing import doing, print_json, print_sheet, print_text
from jfr_mp.cli.projects.project_contents import add_contents
from jfr_mp.cli.projects.project_edits import add_edits
from jfr_mp.cli.projects.project_files import add_files
from jfr_mp.cli.tables import Cell, Column, Sheet
from jfr_mp.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from jfr_mp.diagnosis import Check

app = new_group("List projects and check them.")

#: By the value of a `jfr_mp.diagnosis.Verdict`.
_STYLES = {"ok": "green", "failed": "bold red", "warning": "yellow", "not checked": "dim"}


@command(app, "list")
def list_projects(
    *,
    warn: Annotated[
        bool, typer.Option("--warn", "-w", help="Also log the errors in files as warnings; the list has them anyway.")
    ] = False,
    as_json: JsonOption = False,
    project: ProjectNameOption,
) -> None:
    """List the projects, each with its file or the error in it; an asterisk marks the chosen project."""
    from jfr_mp.config import ConfigManager

    manager = ConfigManager(warn=warn)
    try:
        chosen = manager.select_project_name(project)
    except ConfigError:
        chosen = None
    files = {name: str(data.filepath) for name, data in manager.projects_data.items()}
    errors = {name: str(error) for name, error in manager.broken.items()}
    rows = [
        {"name": name, "chosen": name == chosen, "file": files.get(name), "error": errors.get(name)}
        for name in sorted({*files, *errors})
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_sheet(project_sheet(rows), f"Projects in {manager.projects_folder}")
    else:
        typer.echo(f"There is no project in {manager.projects_folder}. Make one with `jfr-mp init`.")


def project_sheet(rows: list[dict[str, str | bool | None]]) -> Sheet:
    """Return the table of projects."""
    return Sheet(
        columns=(Column(""), Column("Name", breaks=True), Column("File", breaks=True)),
        rows=tuple(
            (
                Cell("*" if row["chosen"] else ""),
                Cell(str(row["name"])),
                Cell(str(row["error"]), "red") if row["error"] else Cell(str(row["file"])),
            )
            for row in rows
        ),
    )


def check_sheet(checks: Iterable[Check]) -> Sheet:
    """Return the report as a table, one check a row, with what to do after what was found."""
    return Sheet(
        columns=(Column("Check"), Column("Result"), Column("Found", breaks=True)),
        rows=tuple(
            (
                Cell(check.what),
                Cell(check.verdict, _STYLES[check.verdict]),
                Cell(check.detail + (f" -> {check.cure}" if check.cure else "")),
            )
            for check in checks
        ),
    )


def check_extent(
    jobstore: Annotated[bool, typer.Option("--jobstore", "-js", help="Test only the JobStores.")] = False,
    queue: Annotated[bool, typer.Option("--queue", "-q", help="Test only the queue database.")] = False,
    worker: Annotated[
        str | None,
        typer.Option("--worker", "-w", metavar="NAME", help="Test only this worker.", autocompletion=complete_worker),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", "-f", help="Accepted as in jobflow-remote: every test is complete.")
    ] = False,
) -> tuple[bool, bool, str | None]:
    """Return which parts are tested; none means all."""
    return queue, jobstore, worker


@command(app)
@with_examples({"jfr-mp project check": "everything", "jfr-mp project check -w cluster": "one worker"})
def check(
    *,
    parts: Annotated[tuple[bool, bool, str | None], Options(check_extent)],
    errors: Annotated[
        bool, typer.Option("--errors", "-e", help="Repeat what failed below the table, each on lines of its own.")
    ] = False,
    as_json: JsonOption = False,
    project: ProjectNameOption,
) -> None:
    """Test the project file, the database, the JobStores and the workers by using them.

    On each worker, a directory is made and removed in each of its directories, its scheduler is asked, and its command
    runs a small job that reports the Python and the packages that it finds. The exit code is 8 if a check failed.
    """
    from jfr_mp.config import ConfigManager
    from jfr_mp.diagnosis import Parts, check_project, has_failed

    data = ConfigManager().get_project_data(project)
    with doing("checking"):
        checks = check_project(data, Parts(*parts))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_sheet(check_sheet(checks), f"Project {data.project.name}")
        _print_errors(checks if errors else ())
    if has_failed(checks):
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _print_errors(checks: Iterable[Check]) -> None:
    for check in checks:
        if check.verdict == "failed":
            print_text(f"\n{check.what}:", "bold red")
            print_text(f"{check.detail}\n-> {check.cure}")


add_files(app)
add_edits(app)
add_contents(app)
