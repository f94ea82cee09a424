"""``jfr-mp project``: the project files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import typer

from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import doing, print_json, print_sheet
from jfr_mp.cli.rows import Cell, Sheet
from jfr_mp.diagnosis.report import Check, Verdict
from jfr_mp.errors import ConfigError, ExitCode

app = typer.Typer(no_args_is_help=True, help="Look at the projects and check them.")


_STYLES = {Verdict.OK: "green", Verdict.FAILED: "bold red", Verdict.WARNING: "yellow", Verdict.SKIPPED: "dim"}


@app.command("list")
def list_projects(as_json: JsonOption = False, project: ProjectOption = None) -> None:
    """List the projects, with the file of each, or what is wrong with it; a star marks the one that is chosen."""
    from jfr_mp.config import ConfigManager

    manager = ConfigManager()
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
        typer.echo(f"There is no project in {manager.projects_folder}. `jfr-mp init` makes one.")


def project_sheet(rows: list[dict[str, str | bool | None]]) -> Sheet:
    """Return the table of projects."""
    return Sheet(
        columns=("", "Name", "File"),
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
    """Return the report as a table, one check a row."""
    return Sheet(
        columns=("Check", "Result", "Found", "What to do"),
        rows=tuple(
            (Cell(check.what), Cell(check.verdict, _STYLES[check.verdict]), Cell(check.detail), Cell(check.cure))
            for check in checks
        ),
    )


@app.command()
def check(as_json: JsonOption = False, project: ProjectOption = None) -> None:
    """Test the project file, the database, the JobStores and the workers, by using them.

    Each worker is connected to, a directory is made and removed in each of its directories, its scheduler is asked, and
    its command runs a small job that says which Python and which packages it finds. The exit code is 8 when a check
    failed.
    """
    from jfr_mp.config import ConfigManager
    from jfr_mp.diagnosis.checks import run_checks

    data = ConfigManager().get_project_data(project)
    with doing("checking"):
        checks = run_checks(data)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_sheet(check_sheet(checks), f"Project {data.project.name}")
    if any(check.verdict is Verdict.FAILED for check in checks):
        raise typer.Exit(ExitCode.CHECK_FAILED)
