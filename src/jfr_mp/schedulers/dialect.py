"""Dialects: the commands of one kind of scheduler and the meaning of their output, as pairs of pure methods.

qtoolkit knows the commands and parses single jobs well. This module and the modules of the single schedulers add two
things. The output is divided into jobs first, so that a job that cannot be parsed does not hide the others. And an
answer without jobs is distinguished from a missing answer.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jfr_mp.errors import SchedulerError
from jfr_mp.hosts import CommandResult
from jfr_mp.jobdata.files import SUBMIT_SCRIPT

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

logger = logging.getLogger(__name__)

#: Bytes of job ids in one command: below every limit, even if the whole command is one argument of a shell.
_IDS_LENGTH = 16_000
_NOT_IN_A_JOB_NAME = re.compile(r"[^\w.+-]", re.ASCII)
#: Slurm, PBS and SGE accept names of this length plus the submission token.
_NAME_LENGTH = 200


@dataclass(frozen=True)
class JobStatus:
    """The state of a job according to its scheduler.

    Parameters
    ----------
    name
        One of qtoolkit's states, such as ``QUEUED`` or ``RUNNING``. ``UNDETERMINED`` allows no conclusion: the
        scheduler uses an unknown name for the state, or gives no state.
    said
        The scheduler's own name of the state, such as ``TIMEOUT``.
    """

    name: str
    said: str = field(default="", compare=False)

    @property
    def running(self) -> bool:
        """Whether the job is running."""
        return self.name == "RUNNING"

    @property
    def done(self) -> bool:
        """Whether the job has ended, successfully or not."""
        return self.name in ("DONE", "FAILED")


UNKNOWN = JobStatus("UNDETERMINED")
#: The scheduler reports that there is no such job, so it has ended.
GONE = JobStatus("DONE", "gone")


@dataclass(frozen=True)
class Listed:
    """A job in the answer of a scheduler; `text` is the part of the answer about it, which contains its name."""

    job_id: str
    status: JobStatus
    text: str = ""


class Dialect:
    """The dialect of a scheduler that only qtoolkit knows, such as a custom scheduler of the user.

    Parameters
    ----------
    io
        qtoolkit's object for the scheduler.
    """

    #: The environment variable with the id of a running job. It allows a job to find out that it was submitted twice.
    id_variable: ClassVar[str | None] = None
    #: A script for ``sed -n`` that extracts the job id from the output of the submit command.
    id_finder: ClassVar[str | None] = None
    #: The command that shows one job, whose id is appended; None if jobs can only be listed.
    show_command: ClassVar[Sequence[str] | None] = None
    #: The messages of the commands for a job that does not exist, or does not exist any more.
    gone: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")

    def __init__(self, io: BaseSchedulerIO) -> None:
        self.io = io

    def job_name(self, name: str, submission: str) -> str:
        """Return the name of a job for the header; it is valid without quoting and ends with the submission token."""
        plain = _NOT_IN_A_JOB_NAME.sub("_", name)[:_NAME_LENGTH]
        # PBS requires a letter first; a leading hyphen would be taken for an option.
        return f"{plain if plain[:1].isalpha() else f'job{plain}'}-{submission}"

    def submit_command(self) -> list[str]:
        """Return the command that submits the script in the working directory."""
        return self._argv(self.io.get_submit_cmd(SUBMIT_SCRIPT))

    def read_id(self, text: str) -> str | None:
        """Return the job id in the output of a submission, or None if there is none."""
        if self.id_finder:
            job_id = text.strip().rpartition("\n")[2]
        else:
            try:
                job_id = str(self.io.parse_submit_output(0, text, "").job_id or "")
            except Exception:  # noqa: BLE001 - plug-ins raise whatever they like at what they do not expect
                return None
        return job_id if job_id and self.io.is_valid_job_id(job_id) else None

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Return the commands that list jobs with their names: all jobs of a user if one is given."""
        for chunk in (None,) if user else chunks(job_ids):
            yield self._argv(self.io.get_jobs_list_cmd(None if chunk is None else [*chunk], user))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer.

        Raises
        ------
        SchedulerError
            The output is not an answer and allows no conclusion about any job; the message is only the reason.
        """
        try:
            jobs = self.io.parse_jobs_list_output(result.returncode, result.stdout, result.stderr)
        except Exception as error:  # plug-ins may raise any error for output that they do not expect
            raise SchedulerError(f"{no_answer(result)} ({type(error).__name__}: {error})") from error
        for job in jobs:
            yield Listed(str(job.job_id), _status_of(job), job.name or "")

    def read_show(self, text: str) -> JobStatus:
        """Return the state in the output of `show_command`."""
        return GONE if self.gone.search(text) else self.read_state(text)

    def read_state(self, text: str) -> JobStatus:
        """Return the state in an answer about one job that qtoolkit cannot parse."""
        return UNKNOWN

    def cancel_command(self, job_id: str) -> list[str]:
        """Return the command that cancels a job."""
        return self._argv(self.io.get_cancel_cmd(job_id))

    def read_job(self, job_id: str, text: str) -> Listed:
        """Return the job in an answer about one job; its state is unknown if the answer cannot be parsed."""
        try:
            jobs = self.io.parse_jobs_list_output(0, text, "")
            status = _status_of(jobs[0]) if jobs else UNKNOWN
        except Exception as error:  # noqa: BLE001 - qtoolkit raises anything at what it does not expect
            status = self.read_state(text)
            if status == UNKNOWN:
                logger.debug("the scheduler's answer about job %s cannot be parsed: %r", job_id, error)
        return Listed(job_id, status, text)

    def _argv(self, command: str) -> list[str]:
        """Return one of qtoolkit's commands as a list; the command of an unknown scheduler may be any shell text."""
        return ["/bin/sh", "-c", command] if type(self) is Dialect else shlex.split(command)


def status_named(states: Any, word: str | None) -> JobStatus:
    """Return the status for the scheduler's own name of a state, a value of one of qtoolkit's enumerations."""
    try:
        return JobStatus(str(states(word).qstate.value), word or "")
    except ValueError:
        return UNKNOWN


def _status_of(job: Any) -> JobStatus:
    said = str(job.sub_state.value) if job.sub_state else ""
    return JobStatus(str(job.state.value), said) if job.state else UNKNOWN


def no_answer(result: CommandResult) -> SchedulerError:
    """Return the error for a result that is not an answer; its message is only the reason."""
    reason = " ".join((result.stderr.strip() or result.stdout.strip() or "nothing was printed").split())
    return SchedulerError(f"exit code {result.returncode}: {reason[:500]}")


def chunks(job_ids: Sequence[str]) -> Iterator[list[str]]:
    """Divide ids among several commands, so that no command line becomes too long."""
    chunk: list[str] = []
    length = 0
    for job_id in job_ids:
        length += len(job_id) + 1
        if chunk and length > _IDS_LENGTH:
            yield chunk
            chunk, length = [], len(job_id) + 1
        chunk.append(job_id)
    if chunk:
        yield chunk
