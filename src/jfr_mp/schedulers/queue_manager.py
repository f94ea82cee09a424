"""A scheduler joined to a host: the dialect knows what to say, the host says it, and the answer is weighed here."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

from jfr_mp.errors import HostError, HostUnreachable, SchedulerError, SiteLimit
from jfr_mp.hosts import BaseHost
from jfr_mp.hosts.quoting import quote
from jfr_mp.schedulers.dialect import GONE, JobStatus, Listed, no_answer
from jfr_mp.schedulers.dialects import dialect_of
from jfr_mp.schedulers.refusals import Refusal, classify
from jfr_mp.schedulers.shell import Shell, cancel_on_shell, submit_to_shell
from jfr_mp.schedulers.submission import CLAIM_FILENAME, Attempt, SubmitCommand, adopt, attempt, give_up_claim

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.config.workers import WorkerBase

logger = logging.getLogger(__name__)

#: Seconds that a submit command may take where nobody says.
_LIMIT = 60
#: Jobs that are asked for one by one in one command of the host.
_SHOWN_AT_ONCE = 50
#: $1 the ids; the rest is the command that shows one.
_SHOW_EACH = """
ids=$1
shift
for id in $ids; do echo "jfr-mp $id"; "$@" "$id" 2>&1 </dev/null; echo; done
"""
#: How `timeout` and the shell report a command that did not end, and one that is not there.
_TIMED_OUT, _NOT_EXECUTABLE, _NOT_FOUND = (124, 137), 126, 127


class QueueManager:
    """Submits, asks and cancels on one host; several threads may use it at once.

    Parameters
    ----------
    scheduler_io
        qtoolkit's object for the scheduler.
    host
        Where its commands run.
    timeout
        Seconds that a command may take; None waits for ever.
    user
        Ask for all jobs of this user instead of asking for ids, and look for lost ones under this name; None asks for
        ids, and looks under the name that we have on the host.
    """

    def __init__(
        self, scheduler_io: BaseSchedulerIO, host: BaseHost, timeout: float | None = None, user: str | None = None
    ) -> None:
        self.scheduler_io = scheduler_io
        self.host = host
        self.timeout = timeout
        self.user = user
        self.dialect = dialect_of(scheduler_io)
        self._submit_command = SubmitCommand(
            self.dialect.submit_command(), self.dialect.id_finder or "p", int(timeout or _LIMIT)
        )

    @classmethod
    def of_worker(cls, worker: WorkerBase, host: BaseHost) -> Self:
        """Return the queue manager that a worker's configuration describes."""
        return cls(worker.get_scheduler_io(), host, worker.timeout_execute, worker.scheduler_username)

    def submit(self, script: str, run_dir: str | PurePath, submission: str) -> str:
        """Submit the script of a job in its run directory, or find the job that an earlier attempt submitted.

        Parameters
        ----------
        script
            The submission script, as `job_script` makes it.
        run_dir
            The run directory, which exists.
        submission
            The token of this run, which the name of the job ends with.

        Returns
        -------
        str
            The scheduler's id.

        Raises
        ------
        SiteLimit
            The site takes no more jobs now.
        SchedulerError
            It was refused, for good where the error is permanent; or what became of an earlier attempt is not known,
            and the text says what to do.
        HostError
            The host or the scheduler did not answer; whether the job was submitted, the next attempt tells.
        """
        if isinstance(self.dialect, Shell):
            return submit_to_shell(self.host, run_dir, script, timeout=self.timeout)
        result = self._attempt(script, run_dir)
        if result.verdict == "stale":
            if orphan := self._orphan(run_dir, submission):
                adopt(self.host, run_dir, orphan)
                return orphan
            result = self._attempt(script, run_dir, stale=result.text)
        if result.verdict == "known" and (process_id := self.dialect.read_id(result.text)):
            return process_id
        raise self._refusal(result, run_dir)

    def statuses(self, process_ids: Collection[str]) -> dict[str, JobStatus]:
        """Ask for the states of jobs, of all at once.

        Parameters
        ----------
        process_ids
            The scheduler's ids.

        Returns
        -------
        dict of str to JobStatus
            By id. A job that a list does not mention is asked for once more, by itself; only where a scheduler offers
            nothing but lists, it is missing here.

        Raises
        ------
        SchedulerError
            There was no answer, or one that says nothing about any job.
        """
        wanted = [process_id for process_id in process_ids if self.scheduler_io.is_valid_job_id(process_id)]
        if not wanted:
            return {}
        commands = self.dialect.list_commands(wanted, self.user)
        listed = {job.job_id: job.status for command in commands for job in self._ask(command)}
        statuses = {process_id: listed[process_id] for process_id in wanted if process_id in listed}
        return statuses | self._shown([process_id for process_id in wanted if process_id not in statuses])

    def jobs_of_user(self) -> list[Listed]:
        """Ask for all jobs that the user has in the queue, whoever submitted them; none is an answer, too.

        Raises
        ------
        SchedulerError
            There was no answer.
        """
        user = self.user or self._login_name()
        return [job for command in self.dialect.list_commands((), user) for job in self._ask(command)]

    def cancel(self, process_id: str) -> None:
        """End a job and all its processes; a job that is gone is fine.

        Raises
        ------
        SchedulerError
            The id is none, or the scheduler does not end the job.
        HostError
            The host did not answer, or does not let us end the job.
        """
        if not self.scheduler_io.is_valid_job_id(process_id):
            raise SchedulerError(f"{process_id!r} is not the id of a job of this scheduler")
        if isinstance(self.dialect, Shell):
            cancel_on_shell(self.host, process_id, timeout=self.timeout)
            return
        command = self.dialect.cancel_command(process_id)
        result = self.host.run(command, timeout=self.timeout, idempotent=True)
        said = result.stdout + result.stderr
        if result.returncode != 0 and not self.dialect.gone.search(said):
            reason = " ".join(said.split())[:500] or f"exit code {result.returncode}"
            raise SchedulerError(f"{self.host.name}: {quote(command)} failed: {reason}")

    def _login_name(self) -> str:
        result = self.host.run(["id", "-un"], timeout=self.timeout, idempotent=True)
        # Without a name nobody's jobs would be asked for, and none would be found.
        if result.returncode != 0 or not result.stdout.strip():
            raise SchedulerError(f"{self.host.name}: 'id -un' does not say who we are: {no_answer(result)}")
        return result.stdout.strip()

    def _attempt(self, script: str, run_dir: str | PurePath, stale: str = "") -> Attempt:
        return attempt(self.host, run_dir, script, self._submit_command, stale=stale)

    def _orphan(self, run_dir: str | PurePath, submission: str) -> str | None:
        """Return the id of the job that an attempt submitted which died before it could leave the id.

        Raises
        ------
        HostUnreachable
            The scheduler does not say, so that submitting again might run the job twice.
        SchedulerError
            It cannot say, and a person has to look.
        """
        where = f"an earlier attempt to submit the job in {run_dir} left no id"
        try:
            jobs = self.jobs_of_user()
        except SchedulerError as error:
            raise HostUnreachable(
                f"{where}, and it waits until the scheduler tells whether it has the job: {error}"
            ) from error
        found = [job.job_id for job in jobs if submission in job.text]
        if found:
            logger.info("%s: job %s was submitted by an attempt that died, and is adopted", self.host.name, found[0])
            return found[0]
        if self.dialect.id_variable is None:
            raise SchedulerError(
                f"{where}, and the queue of {self.host.name} has no job whose name ends in {submission}: it may have "
                f"run. If it has not, remove {CLAIM_FILENAME} there and retry the job; else rerun it",
                permanent=True,
            )
        return None

    def _refusal(self, result: Attempt, run_dir: str | PurePath) -> HostError:
        """Return the error for an attempt after which we have no id."""
        command, name = self._submit_command.argv[0], self.host.name
        if result.verdict in ("busy", "stale"):
            return SchedulerError(
                f"{name}: an earlier attempt to submit the job in {run_dir} may still be at it ({result.text}); it is "
                f"waited for. If you know that it is dead, remove {CLAIM_FILENAME} there"
            )
        refusal, line = classify(result.text)
        if result.code in (_NOT_FOUND, _NOT_EXECUTABLE):
            refusal = Refusal.BAD
            line = f"there is no such command, or it cannot be executed; is it on the PATH of a shell there? ({line})"
        elif result.code in _TIMED_OUT:
            refusal, line = Refusal.AWAY, f"it did not end within {self._submit_command.limit} s, or was killed"
        elif result.code == 0:
            refusal = Refusal.UNCLEAR
            line = (
                f"it printed no id of a job, but {line!r}; before it is tried again, the scheduler is asked for the job"
            )
        text = f"{name}: {command}: {line or f'exit code {result.code}, without a word'}"
        if refusal in (Refusal.LIMIT, Refusal.BAD):
            # The scheduler has no job of ours; the next attempt need not look for one. If this fails, it does.
            with suppress(HostError):
                give_up_claim(self.host, run_dir)
        match refusal:
            case Refusal.LIMIT:
                return SiteLimit(text)
            case Refusal.AWAY:
                return HostUnreachable(text)
            case _:
                return SchedulerError(text, permanent=refusal is Refusal.BAD)

    def _ask(self, command: Sequence[str]) -> list[Listed]:
        result = self.host.run(command, timeout=self.timeout, idempotent=True)
        try:
            return list(self.dialect.read_list(result))
        except SchedulerError as error:
            name = command[-1] if command[0] == "/bin/sh" else command[0]
            raise SchedulerError(f"{self.host.name}: {name} gave no answer: {error}") from error

    def _shown(self, process_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Ask for jobs one by one, so that a list with rows missing ends no job."""
        return dict(self._show(process_ids)) if self.dialect.show_command else {}

    def _show(self, process_ids: Sequence[str]) -> Iterator[tuple[str, JobStatus]]:
        for start in range(0, len(process_ids), _SHOWN_AT_ONCE):
            some = process_ids[start : start + _SHOWN_AT_ONCE]
            command = self.dialect.show_command or ()
            result = self.host.run_script(_SHOW_EACH, " ".join(some), *command, timeout=self.timeout, idempotent=True)
            _, *parts = re.split(r"^jfr-mp (\S+)$", result.stdout, flags=re.MULTILINE)
            for process_id, text in zip(parts[::2], parts[1::2], strict=True):
                status = self.dialect.read_show(text)
                if status is not GONE:
                    logger.info("%s: job %s was not in a list, but there: %s", self.host.name, process_id, status)
                yield process_id, status
