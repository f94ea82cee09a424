"""The jobs that a command acts on: one that is named by its id, or several that filters select."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.completion import complete_job
from jfr_mp.cli.filters import JobFilterOptions
from jfr_mp.cli.options import number, whole_number
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import JfrMpError, NotFound

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project
    from jfr_mp.database.filters import JobFilter
    from jfr_mp.model import JobInfo

_INDEX = "If ID is a uuid, the index of the job; by default the largest."
#: The shortest beginning of a uuid that names it: its first block, as lists show it.
_BEGINNING = re.compile("[0-9a-f]{8}[0-9a-f-]*")
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
    pid
        Its id at its scheduler, instead of the others.
    """

    id: str
    index: int | None = None
    pid: str | None = None

    def __str__(self) -> str:
        if self.pid is not None:
            return f"whose scheduler id is {self.pid}"
        return self.id if self.index is None else f"{self.id} with index {self.index}"

    @property
    def keys(self) -> dict[str, Any]:
        """The parameters of `JobController` that mean this job."""
        from jfr_mp.model import is_uuid

        if self.index is None and not is_uuid(self.id):
            return {"db_id": self.id}
        return {"job_id": self.id, "job_index": self.index}


def one_job(
    job: Annotated[
        str, typer.Argument(metavar="ID", help="The db_id or the uuid of the job.", autocompletion=complete_job)
    ],
    index: IndexArgument = None,
) -> JobName:
    """Return the job that two arguments name."""
    return JobName(job, index)


def one_job_with_files(
    job: Annotated[
        str, typer.Argument(metavar="ID", help="The db_id or the uuid of the job.", autocompletion=complete_job)
    ],
    index: Annotated[int | None, number("--index", "-i", text=_INDEX, least=1)] = None,
) -> JobName:
    """Return the job that an argument and an option name, if further arguments follow."""
    return JobName(job, index)


def one_job_or_pid(
    job: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The db_id or the uuid of the job.", autocompletion=complete_job),
    ] = None,
    index: IndexArgument = None,
    pid: Annotated[str | None, typer.Option("--pid", metavar="ID", help="The id of the job at its scheduler.")] = None,
) -> JobName:
    """Return the job that two arguments or its id at the scheduler name.

    Raises
    ------
    typer.BadParameter
        Both were given, or nothing.
    """
    if (job is None) == (pid is None):
        raise typer.BadParameter("name the job either by its ID or by --pid")
    return JobName(job or "", index, pid)


JobArguments = Annotated[JobName, Options(one_job)]
JobOrPidArguments = Annotated[JobName, Options(one_job_or_pid)]
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
        NotFound
            There is no job of that name, or none that matches.
        """
        if self.one is not None:
            return [job_named(controller, self.one)]
        return matching_jobs(controller, self.several)


def job_choice(
    jobs: JobFilterOptions,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="The db_id or the uuid of a job. Use filters to select several.",
            autocompletion=complete_job,
        ),
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


def several_jobs(jobs: JobFilterOptions) -> JobChoice:
    """Return the jobs that filters select, for commands whose first argument is another one.

    Raises
    ------
    typer.BadParameter
        No filter was given, which would mean all jobs.
    """
    from jfr_mp.database.filters import is_empty

    if is_empty(jobs):
        raise typer.BadParameter("select jobs with filters such as --db-id, --flow-id and --state")
    return JobChoice(None, jobs)


SeveralJobsOptions = Annotated[JobChoice, Options(several_jobs)]


def matching_jobs(controller: JobController, jobs: JobFilter) -> list[JobInfo]:
    """Return the jobs that filters select, oldest first.

    Raises
    ------
    NotFound
        No job matches.
    """
    from jfr_mp.database import queries

    found = queries.jobs_info(controller.db, jobs, sort=_OLDEST_FIRST)
    if not found:
        raise NotFound(f"no job of project {controller.project.name} matches; list jobs with `jfr-mp job list`")
    return found


@contextmanager
def chosen_job(project: Project, job: JobName) -> Iterator[tuple[JobController, JobInfo]]:
    """Yield the controller of a project, and return the job that the user names.

    Raises
    ------
    NotFound
        There is no such job.
    """
    with job_controller(project) as controller:
        yield controller, job_named(controller, job)


def job_named(controller: JobController, job: JobName) -> JobInfo:
    """Return the job that the user names by its db_id, its uuid, or the beginning of its uuid as lists show it.

    Raises
    ------
    NotFound
        There is no such job, or there are several.
    """
    from jfr_mp.database import queries

    found = queries.job_info(controller.db, **job.keys) if job.pid is None else _job_of_pid(controller, job.pid)
    if found is None and (uuid := whole_uuid(controller.db.jobs, job.id)):
        found = queries.job_info(controller.db, job_id=uuid, job_index=job.index)
    if found is None:
        raise NotFound(f"project {controller.project.name} has no job {job}; list its jobs with `jfr-mp job list`")
    return found


def _job_of_pid(controller: JobController, pid: str) -> JobInfo | None:
    from jfr_mp.database import queries
    from jfr_mp.database.filters import JobFilter

    found = queries.jobs_info(controller.db, JobFilter(further={"remote.process_id": pid}), sort=[("updated_on", -1)])
    if len(found) > 1:
        raise NotFound(f"several jobs have the scheduler id {pid}: {', '.join(job.db_id for job in found)}")
    return found[0] if found else None


def whole_uuid(collection: Any, beginning: str) -> str | None:
    """Return the uuid in a collection that begins with a text of at least eight characters, or None.

    Raises
    ------
    NotFound
        Several uuids begin with it.
    """
    from jfr_mp.database import queries

    uuids = queries.uuids_beginning(collection, beginning) if _BEGINNING.fullmatch(beginning) else []
    if len(uuids) > 1:
        raise NotFound(f"{beginning} is not unique, use one of {', '.join(uuids)}")
    return uuids[0] if uuids else None


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
