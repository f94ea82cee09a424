"""What one kind of scheduler is told, and what its answers mean: pairs of pure methods around qtoolkit's.

qtoolkit knows the commands and reads one job at a time well. Added here and in the modules of the single schedulers: an
answer is divided into the jobs that it is about, so that one which nobody understands hides no other; and what is no
answer is told from an answer without jobs.
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

#: Bytes of ids in one command: below every limit, also where the whole command is one argument of a shell.
_IDS_LENGTH = 16_000
_NOT_IN_A_JOB_NAME = re.compile(r"[^\w.+-]", re.ASCII)
#: Slurm, PBS and SGE all take names of this length, and some more for the submission.
_NAME_LENGTH = 200


@dataclass(frozen=True)
class JobStatus:
    """What a scheduler says about a job.

    Parameters
    ----------
    name
        One of qtoolkit's states, such as ``QUEUED`` or ``RUNNING``. ``UNDETERMINED`` is no evidence of anything: the
        scheduler calls the state something that nobody knows, or says nothing about the job.
    said
        The scheduler's own word for it, such as ``TIMEOUT``.
    """

    name: str
    said: str = field(default="", compare=False)

    @property
    def running(self) -> bool:
        """Whether the job runs."""
        return self.name == "RUNNING"

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.name in ("DONE", "FAILED")


UNKNOWN = JobStatus("UNDETERMINED")
#: The scheduler denies that there is such a job, so that it has ended.
GONE = JobStatus("DONE", "gone")


@dataclass(frozen=True)
class Listed:
    """A job in the answer of a scheduler; `text` is what the answer says about it, its name at least."""

    job_id: str
    status: JobStatus
    text: str = ""


class Dialect:
    """Any scheduler of which only qtoolkit knows how it answers, such as one of the user's own.

    Parameters
    ----------
    io
        qtoolkit's object for it.
    """

    #: The environment variable in which a job finds its own id. With it, a job can tell that it was submitted twice.
    id_variable: ClassVar[str | None] = None
    #: A program for ``sed -n`` that prints the id of the job out of what the submit command prints.
    id_finder: ClassVar[str | None] = None
    #: Asks for one job, whose id is appended; None where a list is all that can be asked for.
    show_command: ClassVar[Sequence[str] | None] = None
    #: How the commands say that a job does not exist, or not any more.
    gone: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")

    def __init__(self, io: BaseSchedulerIO) -> None:
        self.io = io

    def job_name(self, name: str, submission: str) -> str:
        """Return the name of a job for the header, which takes it as it is; queries find the submission by it."""
        plain = _NOT_IN_A_JOB_NAME.sub("_", name)[:_NAME_LENGTH]
        # PBS wants a letter first; a hyphen would be an option.
        return f"{plain if plain[:1].isalpha() else f'job{plain}'}-{submission}"

    def submit_command(self) -> list[str]:
        """Return the command that submits the script of the working directory."""
        return self._argv(self.io.get_submit_cmd(SUBMIT_SCRIPT))

    def read_id(self, text: str) -> str | None:
        """Return the id in what a submission left, or None where it holds none."""
        if self.id_finder:
            job_id = text.strip().rpartition("\n")[2]
        else:
            try:
                job_id = str(self.io.parse_submit_output(0, text, "").job_id or "")
            except Exception:  # noqa: BLE001 - plug-ins raise whatever they like at what they do not expect
                return None
        return job_id if job_id and self.io.is_valid_job_id(job_id) else None

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Return the commands that list jobs, with their names; all those of a user where there is one."""
        for chunk in (None,) if user else chunks(job_ids):
            yield self._argv(self.io.get_jobs_list_cmd(None if chunk is None else [*chunk], user))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer.

        Raises
        ------
        SchedulerError
            It is no answer and says nothing about any job; the text is the reason alone.
        """
        try:
            jobs = self.io.parse_jobs_list_output(result.returncode, result.stdout, result.stderr)
        except Exception as error:  # plug-ins raise whatever they like at what they do not expect
            raise SchedulerError(f"{no_answer(result)} ({type(error).__name__}: {error})") from error
        for job in jobs:
            yield Listed(str(job.job_id), _status_of(job), job.name or "")

    def read_show(self, text: str) -> JobStatus:
        """Return what the answer to `show_command` means."""
        return GONE if self.gone.search(text) else self.read_state(text)

    def read_state(self, text: str) -> JobStatus:
        """Return the state in an answer about one job that qtoolkit does not understand."""
        return UNKNOWN

    def cancel_command(self, job_id: str) -> list[str]:
        """Return the command that cancels a job."""
        return self._argv(self.io.get_cancel_cmd(job_id))

    def read_job(self, job_id: str, text: str) -> Listed:
        """Read an answer about one job, whatever it says."""
        try:
            jobs = self.io.parse_jobs_list_output(0, text, "")
            status = _status_of(jobs[0]) if jobs else UNKNOWN
        except Exception as error:  # noqa: BLE001 - qtoolkit raises anything at what it does not expect
            status = self.read_state(text)
            if status == UNKNOWN:
                logger.debug("what is said of job %s is not understood: %r", job_id, error)
        return Listed(job_id, status, text)

    def _argv(self, command: str) -> list[str]:
        """Return one of qtoolkit's commands as a list; of a scheduler that is not known it may be any shell text."""
        return ["/bin/sh", "-c", command] if type(self) is Dialect else shlex.split(command)


def status_named(states: Any, word: str | None) -> JobStatus:
    """Return the status for the scheduler's own word, which is a value of one of qtoolkit's enumerations of states."""
    try:
        return JobStatus(str(states(word).qstate.value), word or "")
    except ValueError:
        return UNKNOWN


def _status_of(job: Any) -> JobStatus:
    said = str(job.sub_state.value) if job.sub_state else ""
    return JobStatus(str(job.state.value), said) if job.state else UNKNOWN


def no_answer(result: CommandResult) -> SchedulerError:
    """Return the error for a result that is no answer; its text is the reason alone."""
    reason = " ".join((result.stderr.strip() or result.stdout.strip() or "nothing was printed").split())
    return SchedulerError(f"exit code {result.returncode}: {reason[:500]}")


def chunks(job_ids: Sequence[str]) -> Iterator[list[str]]:
    """Divide ids among commands, so that no limit of a command line is reached."""
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
