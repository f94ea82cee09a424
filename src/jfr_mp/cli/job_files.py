"""``jfr-mp job queue-out`` and ``jfr-mp job files``: what a job has left in its run directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.job_choice import IndexArgument, IndexOption, JobArgument, chosen_job, run_dir_of
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import doing, print_json, print_sheet
from jfr_mp.cli.rows import Cell, Sheet
from jfr_mp.errors import HostError, JfrMpError
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT

if TYPE_CHECKING:
    from jfr_mp.jobdata.listing import Entry
    from jfr_mp.model import JobInfo
    from jfr_mp.steps.services import Services

files_app = typer.Typer(no_args_is_help=True, help="The files in the run directory of a job, on whatever machine.")


@with_examples(
    {
        "jfr-mp job queue-out 12": "by db_id",
        "jfr-mp job queue-out 12 --json": "for a program",
    }
)
def queue_out(
    job: JobArgument, index: IndexArgument = None, as_json: JsonOption = False, project: ProjectOption = None
) -> None:
    """Print what the submission script of a job has printed, to its standard output and error.

    It is read from the run directory. Where that is gone or its host is away, the beginning that was kept with a job
    that failed is printed.
    """
    with chosen_job(project, job, index) as (controller, found):
        run_dir = run_dir_of(found)
        with doing("reading"):
            texts = queue_texts(controller.services, found, run_dir)
    if as_json:
        print_json({name.replace(".", "_"): text for name, text in texts.items()})
        return
    for name, text in texts.items():
        typer.secho(f"{run_dir}/{name}" if text is not None else f"There is no {run_dir}/{name}", fg="cyan")
        if text:
            typer.echo(text.rstrip("\n"))


def queue_texts(services: Services, job: JobInfo, run_dir: str) -> dict[str, str | None]:
    """Return the two files by name; None for one that does not exist.

    Raises
    ------
    HostError
        They cannot be read, and nothing of them was kept.
    """
    kept = {QUEUE_OUT: job.remote.queue_out, QUEUE_ERR: job.remote.queue_err}
    try:
        host = services.site(job.worker).host
        paths = {name: f"{run_dir}/{name}" for name in kept}
        found = {name: host.read(path) if host.exists(path) else None for name, path in paths.items()}
    except HostError as error:
        if not any(kept.values()):
            raise
        warn(f"this is what was kept of it, for it cannot be read now: {error}")
        return kept
    return {name: kept[name] if text is None else text.decode(errors="replace") for name, text in found.items()}


@files_app.command("ls")
@with_examples({"jfr-mp job files ls 12": "by db_id"})
def list_files(
    job: JobArgument, index: IndexArgument = None, as_json: JsonOption = False, project: ProjectOption = None
) -> None:
    """List the files in the run directory of a job and below it."""
    with chosen_job(project, job, index) as (controller, found):
        run_dir = run_dir_of(found)
        with doing("listing"):
            entries = _entries(controller.services, found, run_dir)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = tuple((Cell(entry.name), Cell(str(entry.size))) for entry in entries)
    print_sheet(Sheet(columns=("Name", "Bytes"), rows=rows), run_dir)


@files_app.command("get")
@with_examples(
    {
        "jfr-mp job files get 12": "all files, into this directory",
        "jfr-mp job files get 12 OUTCAR queue.err --path results": "two of them, into another one",
    }
)
def get_files(
    *,
    job: JobArgument,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMES", help="The files, as `jfr-mp job files ls` names them.")
    ] = None,
    index: IndexOption = None,
    path: Annotated[
        Path, typer.Option("--path", metavar="DIR", file_okay=False, help="Where to put them; made if need be.")
    ] = Path(),
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Copy files of the run directory of a job to this machine, by default all; files of the same name are replaced."""
    with chosen_job(project, job, index) as (controller, found):
        run_dir = run_dir_of(found)
        there = [entry.name for entry in _entries(controller.services, found, run_dir)]
        wanted = list(dict.fromkeys(names or there))
        if missing := [name for name in wanted if name not in there]:
            raise JfrMpError(f"{run_dir} has no {', '.join(missing)}; `jfr-mp job files ls {job}` shows what it has")
        host = controller.services.site(found.worker).host
        for name in wanted:
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with doing(f"copying {name}"):
                host.get(f"{run_dir}/{name}", target)
    if as_json:
        print_json([str(path / name) for name in wanted])
        return
    for name in wanted:
        typer.echo(str(path / name))


def _entries(services: Services, job: JobInfo, run_dir: str) -> list[Entry]:
    from jfr_mp.jobdata.listing import files_of

    return files_of(services.site(job.worker).host, run_dir, timeout=services.site(job.worker).config.timeout_execute)
