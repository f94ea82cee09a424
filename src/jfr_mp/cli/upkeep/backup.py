"""``jfr-mp backup``: copies of the queue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.options import JsonOption, LongProjectOption
from jfr_mp.cli.printing import print_json, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jfr_mp.database.backup import Progress

app = new_group("Copy the queue to files, and restore it from them.")


def ignored(
    mongo_path: Annotated[
        Path | None,
        typer.Option(
            "--mongo-path",
            "-m",
            metavar="DIR",
            help="Accepted as in jobflow-remote, without effect: the tools of MongoDB are not needed.",
        ),
    ] = None,
    python: Annotated[
        bool,
        typer.Option("--python", "-p", help="Accepted as in jobflow-remote, without effect: this is the only way."),
    ] = False,
) -> None:
    """Take options of jobflow-remote that change nothing."""


IgnoredOptions = Annotated[None, Options(ignored)]


@command(app)
@with_examples(
    {
        "jfr-mp backup create queue.zip": "one file",
        "jfr-mp backup create backups --compress": "a directory that mongorestore and jobflow-remote read, too",
    }
)
def create(
    *,
    backup_dir: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file that ends in .zip, or the parent of the new directory.")
    ] = Path(),
    compress: Annotated[bool, typer.Option("--compress", "-c", help="Compress the files in the directory.")] = False,
    tools: IgnoredOptions,
    as_json: JsonOption = False,
    project: LongProjectOption,
) -> None:
    """Copy all jobs, flows, batches and auxiliary documents to files. Outputs in the JobStore are not included.

    The database may be in use if it is a replica set, as the one of `jfr-mp init` is: the copy is that of one moment.
    """
    with job_controller(project) as controller, _progress("backing up") as progress:
        numbers = controller.backup_dump(backup_dir, compress=compress, progress=progress)
    _report("Backed up", numbers, f"to {backup_dir}", as_json=as_json)


@command(app)
@with_examples({"jfr-mp backup restore queue.zip --project other": "into another project, whose database is empty"})
def restore(
    *,
    backup_dir: Annotated[
        Path, typer.Argument(metavar="PATH", help="The file or the directory of a backup, or its parent.")
    ] = Path(),
    tools: IgnoredOptions,
    as_json: JsonOption = False,
    project: LongProjectOption,
) -> None:
    """Restore a backup of jfr-mp, jobflow-remote or mongodump into an empty database, that of any project.

    The backup is verified before anything is written, and the database afterwards. Nothing may be running.
    """
    with job_controller(project) as controller, _progress("restoring") as progress:
        numbers = controller.backup_restore(backup_dir, progress=progress)
    _report("Restored", numbers, f"to project {project.name}", as_json=as_json)


def _report(done: str, numbers: Mapping[str, int], where: str, *, as_json: bool) -> None:
    if as_json:
        print_json(numbers)
        return
    print_text(f"{done} {counted(sum(numbers.values()), 'document')} {where}:")
    for name, number in numbers.items():
        print_text(f"  {name}: {number}")


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """Show the progress of each collection: on a terminal as bars, otherwise not at all."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        yield _advance(bars, what)


def _advance(bars: Any, what: str) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def advance(collection: str, done: int, total: int) -> None:
        if collection not in tasks:
            tasks[collection] = bars.add_task(f"{what} {collection}", total=total)
        bars.update(tasks[collection], completed=done, total=total)

    return advance
