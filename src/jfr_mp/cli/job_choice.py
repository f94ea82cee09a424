"""The jobs that a command acts on: one that is named by its id, or several that filters select."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.filters import JobFilterOptions
from jfr_mp.cli.options import number, whole_number
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project
    from jfr_mp.database.filters import JobFilter
    from jfr_mp.model import JobInfo

_INDEX = "If ID is a uuid, the index of the job; by default the largest."
_OLDEST_FIRST = [("created_on", 1), ("db_id", 1)]

IndexArgument = Annotated[int | None, typer.Argument(metavar="INDEX", parser=whole_number(1), help=_INDEX)]


@dataclass(frozen=True)
class JobName:
    """One job, as the user names it.

    Parameters
    ----------
    id
        Its db_id or its uuid.
    index
        Its index; None for the largest. With a db_id it is not needed.
    """

    id: str
    index: int | None = None

    def __str__(self) -> str:
        return self.id if self.index is None else f"{self.id} with index {self.index}"

    @property
    def keys(self) -> dict[str, Any]:
        """The parameters of `JobController` that mean this job."""
        from jfr_mp.model import is_uuid

        if self.index is None and not is_uuid(self.id):
            return {"db_id": self.id}
        return {"job_id": self.id, "job_index": self.index}


def one_job(
    job: Annotated[str, typer.Argument(metavar="ID", help="The db_id or the uuid of the job.")],
    index: IndexArgument = None,
) -> JobName:
    """Return the job that two arguments name."""
    return JobName(job, index)


def one_job_with_files(
    job: Annotated[str, typer.Argument(metavar="ID", help="The db_id or the uuid of the job.")],
    index: Annotated[int | None, number("--index", "-i", text=_INDEX, least=1)] = None,
) -> JobName:
    """Return the job that an argument and an option name, if further arguments follow."""
    return JobName(job, index)


JobArguments = Annotated[JobName, Options(one_job)]
JobOfFilesArguments = Annotated[JobName, Options(one_job_with_files)]


@dataclass(frozen=True)
class JobChoice:
    """The jobs that a command acts on.

    Parameters
    ----------
    one
        One job.
    several
        A filter; it has conditions exactly if `one` is None.
    """

    one: JobName | None
    several: JobFilter

    def jobs(self, controller: JobController) -> list[JobInfo]:
        """Return them, oldest first.

        Raises
        ------
        JfrMpError
            There is no job of that name.
        """
        from jfr_mp.database import queries

        if self.one is not None:
            return [job_named(controller, self.one)]
        return queries.jobs_info(controller.db, self.several, sort=_OLDEST_FIRST)


def job_choice(
    jobs: JobFilterOptions,
    job: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The db_id or the uuid of a job. Use filters to select several."),
    ] = None,
    index: IndexArgument = None,
) -> JobChoice:
    """Return the jobs that the arguments name or the filters select.

    Raises
    ------
    typer.BadParameter
        Both were given, or nothing, which would mean all jobs.
    """
    from jfr_mp.database.filters import is_empty

    if (job is None) == is_empty(jobs):
        raise typer.BadParameter("name one job, or select several with filters such as --flow-id and --state")
    return JobChoice(None if job is None else JobName(job, index), jobs)


JobChoiceOptions = Annotated[JobChoice, Options(job_choice)]


@contextmanager
def chosen_job(project: Project, job: JobName) -> Iterator[tuple[JobController, JobInfo]]:
    """Lend the controller of a project, and return the job that the user names.

    Raises
    ------
    JfrMpError
        There is no such job.
    """
    with job_controller(project) as controller:
        yield controller, job_named(controller, job)


def job_named(controller: JobController, job: JobName) -> JobInfo:
    """Return the job that the user names.

    Raises
    ------
    JfrMpError
        There is no such job.
    """
    from jfr_mp.database import queries

    found = queries.job_info(controller.db, **job.keys)
    if found is None:
        raise JfrMpError(f"project {controller.project.name} has no job {job}; list its jobs with `jfr-mp job list`")
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
