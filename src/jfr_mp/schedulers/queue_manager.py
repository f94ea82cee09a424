"""A scheduler joined to a host: qtoolkit knows what to say, the host says it, and the answer is weighed here."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Self

from qtoolkit.core.data_objects import QJob
from qtoolkit.core.exceptions import OutputParsingError, QTKError
from qtoolkit.io.shell import ShellIO

from jfr_mp.errors import ConfigError, SchedulerError
from jfr_mp.hosts import BaseHost, CommandResult
from jfr_mp.jobdata.files import SUBMIT_SCRIPT
from jfr_mp.schedulers.submission import Submission, cancel_on_shell, submit_to_shell

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.config.workers import WorkerBase

logger = logging.getLogger(__name__)

#: What a parser of qtoolkit raises at a line that it does not expect.
_PARSER_ERRORS = (OutputParsingError, ValueError, IndexError, KeyError)


@dataclass(frozen=True)
class JobStatus:
    """What a scheduler says about a job; `name` is one of qtoolkit's states, such as ``QUEUED`` or ``RUNNING``.

    ``UNDETERMINED`` means that the scheduler has the job but calls its state something nobody knows.
    """

    UNKNOWN: ClassVar[str] = "UNDETERMINED"

    name: str

    @property
    def running(self) -> bool:
        """Whether the job runs."""
        return self.name == "RUNNING"

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.name in ("DONE", "FAILED")


class QueueManager:
    """Submits, asks and cancels on one host.

    Parameters
    ----------
    scheduler_io
        The scheduler's commands and answers. This version runs qtoolkit's ShellIO alone.
    host
        Where its commands run.
    timeout
        Seconds that a command may take; None waits for ever.

    Raises
    ------
    ConfigError
        This version does not support the scheduler.
    """

    def __init__(self, scheduler_io: BaseSchedulerIO, host: BaseHost, timeout: float | None = None) -> None:
        if not isinstance(scheduler_io, ShellIO):
            raise ConfigError(
                f"the scheduler {type(scheduler_io).__name__} is not supported yet by this version: "
                "only workers with scheduler_type 'shell' run"
            )
        self.scheduler_io = scheduler_io
        self.host = host
        self.timeout = timeout

    @classmethod
    def of_worker(cls, worker: WorkerBase, host: BaseHost) -> Self:
        """Return the queue manager that a worker's configuration describes."""
        return cls(worker.get_scheduler_io(), host, worker.timeout_execute)

    def submit(self, script: str, run_dir: str | PurePath) -> Submission:
        """Write the script of a job to its run directory and submit it.

        Doing it again finds the job that the first time started.

        Raises
        ------
        HostError
            The host did not answer or refused; whether the job was submitted, the next attempt tells.
        """
        self.host.write(PurePosixPath(run_dir, SUBMIT_SCRIPT), script.encode())
        return submit_to_shell(self.host, run_dir, timeout=self.timeout)

    def statuses(self, process_ids: Collection[str], user: str | None = None) -> dict[str, JobStatus]:
        """Ask for the states of jobs.

        Parameters
        ----------
        process_ids
            The scheduler's ids.
        user
            Ask for all jobs of this user instead, for schedulers that cannot be asked for ids.

        Returns
        -------
        dict of str to JobStatus
            By id. A job that is not there was not in an answer that was otherwise complete.

        Raises
        ------
        SchedulerError
            There was no answer, or one that says nothing about any job.
        """
        wanted = [process_id for process_id in process_ids if self.scheduler_io.is_valid_job_id(process_id)]
        if not wanted:
            return {}
        command = self.scheduler_io.get_jobs_list_cmd(None if user else [*wanted], user)
        result = self.host.run(shlex.split(command), timeout=self.timeout)
        if not result.stdout.strip():
            # Even of no job at all it prints the heading.
            reason = result.stderr.strip() or "no reason given"
            raise SchedulerError(f"{self.host.name}: {command!r} gave no answer (exit {result.returncode}): {reason}")
        try:
            statuses = dict(self._parse(result, wanted))
        except QTKError as error:
            raise SchedulerError(f"{self.host.name}: {command!r} failed: {error}") from error
        return {process_id: statuses[process_id] for process_id in wanted if process_id in statuses}

    def cancel(self, process_id: str) -> None:
        """End a job and all its processes; a job that is gone is fine.

        Raises
        ------
        SchedulerError
            The id is none.
        HostError
            The host did not answer, or does not let us end the job.
        """
        if not self.scheduler_io.is_valid_job_id(process_id):
            raise SchedulerError(f"{process_id!r} is not the id of a job of this scheduler")
        cancel_on_shell(self.host, process_id, timeout=self.timeout)

    def _parse(self, result: CommandResult, wanted: Collection[str]) -> Iterator[tuple[str, JobStatus]]:
        """Read an answer row by row: one that nobody understands must not hide the others."""
        heading, *rows = result.stdout.splitlines()
        for row in filter(str.strip, rows):
            try:
                jobs = self.scheduler_io.parse_jobs_list_output(result.returncode, f"{heading}\n{row}", result.stderr)
            except _PARSER_ERRORS as error:
                job_id = row.split()[0]
                if job_id in wanted:
                    logger.warning("job %s has a state that is not known: %s", job_id, error)
                    yield job_id, JobStatus(JobStatus.UNKNOWN)
                continue
            yield from (_status(job) for job in jobs)


def _status(job: QJob) -> tuple[str, JobStatus]:
    state: Any = job.state
    return str(job.job_id), JobStatus(state.value if state else JobStatus.UNKNOWN)
