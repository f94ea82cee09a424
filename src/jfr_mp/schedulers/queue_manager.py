"""A scheduler on a host: the dialect provides the commands, the host runs them, and the answers are evaluated here."""

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
from jfr_mp.schedulers.leftovers import signal_leftovers
from jfr_mp.schedulers.refusals import Refusal, classify
from jfr_mp.schedulers.shell import Shell, cancel_on_shell, submit_to_shell
from jfr_mp.schedulers.submission import CLAIM_FILENAME, Attempt, SubmitCommand, adopt, attempt, give_up_claim

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.config.workers import WorkerBase

logger = logging.getLogger(__name__)

#: The default number of seconds that a submit command may take.
_LIMIT = 60
#: The number of single jobs that are asked for in one command on the host.
_SHOWN_AT_ONCE = 50
#: $1 is the list of ids; the rest is the command that shows one job.
_SHOW_EACH = """
ids=$1
shift
for id in $ids; do echo "jfr-mp $id"; "$@" "$id" 2>&1 </dev/null; echo; done
"""
#: The exit codes of `timeout` and the shell for a command that did not finish, or could not be executed or found.
_TIMED_OUT, _NOT_EXECUTABLE, _NOT_FOUND = (124, 137), 126, 127


class QueueManager:
    """Submit jobs, ask for their states and cancel them on one host. It is thread-safe.

    Parameters
    ----------
    scheduler_io
        qtoolkit's object for the scheduler.
    host
        The host on which its commands run.
    timeout
        Seconds that a command may take; None for no limit.
    user
        The user whose jobs are listed instead of asking for ids, and among whose jobs lost ones are looked for. None
        asks for ids, and looks for lost jobs among those of the login user.
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
        """Return the queue manager for the configuration of a worker."""
        return cls(worker.get_scheduler_io(), host, worker.timeout_execute, worker.scheduler_username)

    def submit(self, script: str, run_dir: str | PurePath, submission: str) -> str:
        """Submit the script of a job in its run directory, or find the job that an earlier attempt submitted.

        Parameters
        ----------
        script
            The submission script, as returned by `job_script`.
        run_dir
            The run directory, which must exist.
        submission
            The submission token of this run, with which the name of the job ends.

        Returns
        -------
        str
            The scheduler's id.

        Raises
        ------
        SiteLimit
            The site currently accepts no more jobs.
        SchedulerError
            The job was refused, for good if the error is permanent. Or the result of an earlier attempt is unknown; the
            message says what to do.
        HostError
            The host or the scheduler did not answer. The job may have been submitted; the next attempt finds out.
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
        """Ask for the states of several jobs at once.

        Parameters
        ----------
        process_ids
            The scheduler's ids.

        Returns
        -------
        dict of str to JobStatus
            The states by id. A job that is missing from the list is asked for individually. If the scheduler can only
            list jobs, it is missing here as well.

        Raises
        ------
        SchedulerError
            There was no answer, or an answer that allows no conclusion about any job.
        """
        wanted = [process_id for process_id in process_ids if self.scheduler_io.is_valid_job_id(process_id)]
        if not wanted:
            return {}
        commands = self.dialect.list_commands(wanted, self.user)
        listed = {job.job_id: job.status for command in commands for job in self._ask(command)}
        statuses = {process_id: listed[process_id] for process_id in wanted if process_id in listed}
        return statuses | self._shown([process_id for process_id in wanted if process_id not in statuses])

    def jobs_of_user(self) -> list[Listed]:
        """Return all jobs of the user in the queue, no matter how they were submitted.

        Raises
        ------
        SchedulerError
            There was no answer.
        """
        user = self.user or self._login_name()
        return [job for command in self.dialect.list_commands((), user) for job in self._ask(command)]

    def cancel(self, process_id: str) -> None:
        """Cancel a job and stop all its processes; do nothing if the job does not exist any more.

        Raises
        ------
        SchedulerError
            The id is not valid, or the scheduler did not cancel the job.
        HostError
            The host did not answer, or does not allow the job to be stopped.
        """
        if not self.scheduler_io.is_valid_job_id(process_id):
            raise SchedulerError(f"{process_id!r} is not a valid job id of this scheduler")
        if isinstance(self.dialect, Shell):
            cancel_on_shell(self.host, process_id, timeout=self.timeout)
            return
        command = self.dialect.cancel_command(process_id)
        result = self.host.run(command, timeout=self.timeout, idempotent=True)
        said = result.stdout + result.stderr
        if result.returncode != 0 and not self.dialect.gone.search(said):
            reason = " ".join(said.split())[:500] or f"exit code {result.returncode}"
            raise SchedulerError(f"{self.host.name}: {quote(command)} failed: {reason}")

    def end_leftovers(self, submission: str | None) -> None:
        """Kill the processes of a cancelled job that are in none of its process groups.

        Raises
        ------
        HostError
            The host did not answer.
        """
        if submission and isinstance(self.dialect, Shell):
            signal_leftovers(self.host, [submission], "KILL")

    def _login_name(self) -> str:
        result = self.host.run(["id", "-un"], timeout=self.timeout, idempotent=True)
        # Without a user name the list would be empty, and existing jobs would not be found.
        if result.returncode != 0 or not result.stdout.strip():
            raise SchedulerError(f"{self.host.name}: 'id -un' did not print the user name: {no_answer(result)}")
        return result.stdout.strip()

    def _attempt(self, script: str, run_dir: str | PurePath, stale: str = "") -> Attempt:
        return attempt(self.host, run_dir, script, self._submit_command, stale=stale)

    def _orphan(self, run_dir: str | PurePath, submission: str) -> str | None:
        """Return the id of a job that was submitted by an interrupted attempt, or None if there is none.

        Raises
        ------
        HostUnreachable
            The scheduler does not answer, so submitting again might run the job twice.
        SchedulerError
            The scheduler cannot tell whether the job was submitted, and the user has to find out.
        """
        where = f"an earlier attempt to submit the job in {run_dir} left no id"
        try:
            jobs = self.jobs_of_user()
        except SchedulerError as error:
            raise HostUnreachable(
                f"{where}; the job waits until the scheduler answers whether it has the job: {error}"
            ) from error
        found = [job.job_id for job in jobs if submission in job.text]
        if found:
            logger.info("%s: adopted job %s, which an interrupted attempt had submitted", self.host.name, found[0])
            return found[0]
        if self.dialect.id_variable is None:
            raise SchedulerError(
                f"{where}, and the queue of {self.host.name} has no job whose name ends in {submission}: the job may "
                f"have run. If it has not, remove {CLAIM_FILENAME} in that directory and retry the job; otherwise "
                "rerun the job",
                permanent=True,
            )
        return None

    def _refusal(self, result: Attempt, run_dir: str | PurePath) -> HostError:
        """Return the error for an attempt that did not produce an id."""
        command, name = self._submit_command.argv[0], self.host.name
        if result.verdict in ("busy", "stale"):
            return SchedulerError(
                f"{name}: an earlier attempt to submit the job in {run_dir} may still be in progress ({result.text}); "
                f"the job waits for it. If it has been killed, remove {CLAIM_FILENAME} in that directory"
            )
        refusal, line = classify(result.text)
        if result.code in (_NOT_FOUND, _NOT_EXECUTABLE):
            refusal = Refusal.BAD
            line = f"there is no such command, or it cannot be executed; check the PATH of a shell on the host ({line})"
        elif result.code in _TIMED_OUT:
            refusal = Refusal.AWAY
            line = f"the command did not finish within {self._submit_command.limit} s, or was killed"
        elif result.code == 0:
            refusal = Refusal.UNCLEAR
            line = f"the command printed no job id, but {line!r}; the next attempt asks the scheduler for the job first"
        text = f"{name}: {command}: {line or f'exit code {result.code} without a message'}"
        if refusal in (Refusal.LIMIT, Refusal.BAD):
            # The scheduler does not have the job, so the next attempt need not look for it. If this fails, it does.
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
        """Ask for jobs individually, so that a job does not count as ended because of an incomplete list."""
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
                    logger.info(
                        "%s: job %s was missing from a list, but exists: %s", self.host.name, process_id, status
                    )
                yield process_id, status
