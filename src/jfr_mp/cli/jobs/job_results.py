"""``jfr-mp job output``, ``dump`` and ``todir``: what a job has returned, its document and its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import command, with_examples
from jfr_mp.cli.filters import JobFilterOptions
from jfr_mp.cli.job_choice import JobArguments, chosen_job, matching_jobs, run_dir_of
from jfr_mp.cli.options import LongProjectOption, ProjectOption, require_directory_of
from jfr_mp.cli.printing import doing, print_json, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import NotFound

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

_FILE_ENDINGS = (".json", ".yaml", ".yml")


def add_results(group: typer.Typer) -> None:
    """Add the commands to the group of jobs."""
    command(group, "output")(output)
    command(group, "dump", hidden=True)(dump)
    command(group, "todir")(todir)


@with_examples(
    {
        "jfr-mp job output 12": "the whole output",
        "jfr-mp job output 12 --path energies.0": "a part of it",
        "jfr-mp job output 12 --load -o output.json": "with the data of additional stores, into a file",
    }
)
def output(
    *,
    job: JobArguments,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            "-p",
            metavar="PATH",
            help="The part of the output, such as a.b.0. What ends in .json or .yaml is a file to write instead.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-o", metavar="FILE", dir_okay=False, help="Write to this file: YAML if so named, or JSON."
        ),
    ] = None,
    load: Annotated[bool, typer.Option("--load", "-l", help="Load the data in additional stores, too.")] = False,
    project: LongProjectOption,
) -> None:
    """Print the output of a job as JSON."""
    if path is not None and path.endswith(_FILE_ENDINGS):
        file = file or Path(path)
        path = None
    with chosen_job(project, job) as (controller, found), doing("reading"):
        value = _output(controller, found, load)
    if path is not None:
        value = part_of(value, path, found.db_id)
    _write(_plain(value), file)


def _output(controller: JobController, job: JobInfo, load: bool) -> Any:
    try:
        return controller.get_job_output(db_id=job.db_id, load=load)
    except ValueError:
        raise NotFound(f"job {job.db_id} is {job.state.name} and has no output") from None


def part_of(value: Any, path: str, db_id: str) -> Any:
    """Return the part of an output at a dotted path of keys and positions.

    Raises
    ------
    NotFound
        There is no such part; the message says what there is.
    """
    passed: list[str] = []
    for step in path.split("."):
        where = ".".join(passed) or "the output"
        value = _as_plain_object(value)
        try:
            value = value[int(step)] if isinstance(value, list | tuple) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise NotFound(f"job {db_id}: {where} has no {step!r}; it {_offers(value)}") from None
        passed.append(step)
    return value


def _as_plain_object(value: Any) -> Any:
    return value if isinstance(value, Mapping | list | tuple) else _plain(value)


def _offers(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"has the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"is a list of {len(value)}"
    return f"is of type {type(value).__name__}"


def _plain(value: Any) -> Any:
    from monty.json import jsanitize

    return jsanitize(value, strict=True, enum_values=True)


def _write(value: Any, file: Path | None) -> None:
    if file is None:
        print_json(value)
        return
    from monty.serialization import dumpfn

    require_directory_of(file)
    dumpfn(value, file, fmt="yaml" if file.suffix in (".yaml", ".yml") else "json")
    print_text(f"Wrote {file}")


@with_examples({"jfr-mp job dump --flow-id 12 --path flow.json": "the jobs of a flow"})
def dump(
    *,
    jobs: JobFilterOptions,
    path: Annotated[
        Path, typer.Option("--path", "-p", metavar="FILE", dir_okay=False, help="The file to write.")
    ] = Path("jobs_dump.json"),
    project: LongProjectOption,
) -> None:
    """Write the documents of jobs to a JSON file, as the database has them."""
    from jfr_mp.database import queries

    with job_controller(project) as controller:
        matching_jobs(controller, jobs)
        documents = queries.job_documents(controller.db, jobs)
    _write(_plain(documents), path)


@with_examples({"jfr-mp job todir 12": "by db_id"})
def todir(
    *,
    job: JobArguments,
    shell: Annotated[str, typer.Option("--shell", "-s", metavar="SHELL", help="The shell to start.")] = "bash",
    project: ProjectOption,
) -> None:
    """Open a shell in the run directory of a job, on its worker; leave it with `exit`."""
    import os
    import sys

    from jfr_mp.hosts.interactive import shell_command

    with chosen_job(project, job) as (controller, found):
        run_dir = run_dir_of(found)
        argv = shell_command(controller.project.worker(found.worker), run_dir, shell)
    print_text(f"Opening {shell} in {run_dir} on worker {found.worker}")
    # What is printed must not come after what the shell prints.
    sys.stdout.flush()
    os.execvp(argv[0], argv)
