"""The one job that a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.session import job_controller, load_project
from jfr_mp.errors import JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The db_id of the job, or its uuid.")]
IndexArgument = Annotated[
    int | None, typer.Argument(metavar="INDEX", help="With a uuid: the index, by default the largest.")
]
IndexOption = Annotated[
    int | None, typer.Option("--index", "-i", metavar="N", help="With a uuid: the index, by default the largest.")
]


@contextmanager
def chosen_job(project: str | None, job: str, index: int | None) -> Iterator[tuple[JobController, JobInfo]]:
    """Lend the controller of a project and the job that the user means.

    Raises
    ------
    JfrMpError
        There is no such job.
    """
    with job_controller(load_project(project)) as controller:
        yield controller, job_named(controller, job, index)


def job_named(controller: JobController, job: str, index: int | None) -> JobInfo:
    """Return the job that the user means.

    Raises
    ------
    JfrMpError
        There is no such job.
    """
    from jfr_mp.model import is_uuid

    by: dict[str, Any] = {"db_id": job} if index is None and not is_uuid(job) else {"job_id": job, "job_index": index}
    found = controller.get_job_info(**by)
    if found is None:
        which = job if index is None else f"{job} with index {index}"
        name = controller.project.name
        raise JfrMpError(f"project {name} has no job {which}; `jfr-mp job list` shows the jobs that it has")
    return found


def run_dir_of(job: JobInfo) -> str:
    """Return the run directory of a job.

    Raises
    ------
    JfrMpError
        It has none yet.
    """
    if not job.run_dir:
        raise JfrMpError(f"job {job.db_id} is {job.state.name} and has no directory on its worker yet")
    return job.run_dir
