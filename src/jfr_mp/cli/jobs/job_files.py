"""``jfr-mp job queue-out`` and ``jfr-mp job files``: what a job has left in its run directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.job_choice import JobArguments, JobOfFilesArguments, chosen_job, run_dir_of
from jfr_mp.cli.options import JsonOption, LongProjectOption, ProjectOption
from jfr_mp.cli.printing import doing, print_json, print_sheet, print_text
from jfr_mp.cli.tables import Cell, Column, Sheet
from jfr_mp.errors import HostError, JfrMpError
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT

if TYPE_CHECKING:
    from jfr_mp.hosts import BaseHost
    from jfr_mp.jobdata.listing import Entry
    from jfr_mp.model import JobInfo
    from jfr_mp.steps.services import Services


#: The number of bytes of a text that are shown; of a larger one, only the end is.
_SHOWN = 2**24


def add_files(group: typer.Typer) -> typer.Typer:
    """Add the commands for files to the group of jobs, and return their own group."""
    command(group, "queue-out")(queue_out)
    files = new_group("List, copy and delete the files in the run directory of a job.")
    command(files, "ls")(list_files)
    command(files, "get")(get_files)
    group.add_typer(files, name="files")
    return files


@with_examples({"jfr-mp job queue-out 12": "by db_id", "jfr-mp job queue-out 12 --json": "for a program"})
def queue_out(*, job: JobArguments, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Print the standard output and error of the submission script of a job.

    They are read from the run directory. If that no longer exists or its host is unreachable, the excerpt that was
    saved with a failed job is printed.
    """
    with chosen_job(project, job) as (controller, found):
        run_dir = run_dir_of(found)
        with doing("reading"):
            texts = queue_texts(controller.services, found, run_dir)
    if as_json:
        print_json({name.replace(".", "_"): text for name, text in texts.items()})
        return
    for name, text in texts.items():
        print_text(f"{run_dir}/{name}" if text is not None else f"{run_dir}/{name} does not exist", "cyan")
        if text:
            print_text(text.rstrip("\n"))


def queue_texts(services: Services, job: JobInfo, run_dir: str) -> dict[str, str | None]:
    """Return the two files by name; None for one that does not exist.

    Raises
    ------
    HostError
        They cannot be read, and no excerpt was saved.
    """
    kept = {QUEUE_OUT: job.remote.queue_out, QUEUE_ERR: job.remote.queue_err}
    try:
        host = services.site(job.worker).host
        paths = {name: f"{run_dir}/{name}" for name in kept}
        found = {name: _text(host, path) for name, path in paths.items()}
    except HostError as error:
        if not any(kept.values()):
            raise
        warn(f"the live files cannot be read; showing the saved excerpt: {error}")
        return kept
    return {name: kept[name] if text is None else text for name, text in found.items()}


def _text(host: BaseHost, path: str) -> str | None:
    """Return a text file; of a large one, the end with a first line that says so; None if there is none."""
    size = host.size(path)
    if size is None:
        return None
    if size <= _SHOWN:
        return host.read(path, limit=2 * _SHOWN).decode(errors="replace")
    end = host.read_from(path, size - _SHOWN, limit=_SHOWN).decode(errors="replace")
    heading = f"... the last {_SHOWN / 2**20:.0f} of {size / 2**20:.0f} MB; `jfr-mp job files get` copies the file ..."
    return f"{heading}\n{end}"


@with_examples({"jfr-mp job files ls 12": "by db_id"})
def list_files(*, job: JobArguments, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the files in the run directory of a job and below it."""
    with chosen_job(project, job) as (controller, found):
        run_dir = run_dir_of(found)
        with doing("listing"):
            entries = _entries(controller.services, found, run_dir)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = tuple((Cell(entry.name), Cell(str(entry.size))) for entry in entries)
    print_sheet(Sheet((Column("Name", breaks=True), Column("Bytes")), rows), run_dir)


@with_examples(
    {
        "jfr-mp job files get 12": "all files, into the current directory",
        "jfr-mp job files get 12 OUTCAR queue.err --path results": "two of them, into another directory",
    }
)
def get_files(
    *,
    job: JobOfFilesArguments,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMES", help="The files, as `jfr-mp job files ls` lists them.")
    ] = None,
    path: Annotated[
        Path,
        typer.Option("--path", "-p", metavar="DIR", file_okay=False, help="Where to put them; made if it is missing."),
    ] = Path(),
    as_json: JsonOption = False,
    project: LongProjectOption,
) -> None:
    """Copy files from the run directory of a job to this machine, by default all. Existing files are replaced."""
    from jfr_mp.jobdata.untrusted import path_below

    with chosen_job(project, job) as (controller, found):
        run_dir = run_dir_of(found)
        there = [entry.name for entry in _entries(controller.services, found, run_dir)]
        wanted = list(dict.fromkeys(names or there))
        if missing := [name for name in wanted if name not in there]:
            raise JfrMpError(
                f"{run_dir} has no {', '.join(missing)}; list its files with `jfr-mp job files ls {found.db_id}`"
            )
        host = controller.services.site(found.worker).host
        # All names are checked before the first file is copied.
        for name, target in [(name, path_below(path, name)) for name in wanted]:
            target.parent.mkdir(parents=True, exist_ok=True)
            with doing(f"copying {name}"):
                host.get(f"{run_dir}/{name}", target)
    if as_json:
        print_json([str(path / name) for name in wanted])
        return
    for name in wanted:
        print_text(str(path / name))


def _entries(services: Services, job: JobInfo, run_dir: str) -> list[Entry]:
    from jfr_mp.jobdata.listing import files_of

    site = services.site(job.worker)
    return files_of(site.host, run_dir, timeout=site.config.timeout_execute)
