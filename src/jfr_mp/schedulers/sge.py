"""Grid Engine: qsub, qstat, qdel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from jfr_mp.hosts import CommandResult
from jfr_mp.schedulers.dialect import UNKNOWN, Dialect, JobStatus, Listed, no_answer

#: The letters of a state, the most significant first: ``hRwq`` is a job on hold, ``Rr`` a restarted job.
_LETTERS = {
    "E": "FAILED",
    "d": "FAILED",
    "sST": "SUSPENDED",
    "rt": "RUNNING",
    "h": "QUEUED_HELD",
    "qw": "QUEUED",
}
_STATE = re.compile(r"<state>([EdsSTrthqwR]+)</state>")
#: The name of the calling user in qstat.
_MYSELF = "$user"


class GridEngine(Dialect):
    """Sun Grid Engine and its descendants."""

    id_variable = "JOB_ID"
    id_finder = r"s/^Your job\(-array\)\{0,1\} \([0-9][0-9]*\).* has been submitted.*/\2/p"
    show_command = ("qstat", "-j")
    gone = re.compile(r"do(es)? not exist")

    def submit_command(self) -> list[str]:
        """Return the command that runs the script in its directory, by bash instead of the shell of the queue."""
        command, *arguments = super().submit_command()
        return [command, "-cwd", "-S", "/bin/bash", *arguments]

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Return the command that lists all jobs of a user, because qstat cannot list jobs by id."""
        return super().list_commands((), user or _MYSELF)

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer; each job is parsed separately."""
        try:
            root = ElementTree.fromstring(result.stdout[max(result.stdout.find("<?xml"), 0) :])
        except ElementTree.ParseError:
            raise no_answer(result) from None
        if result.returncode != 0 or root.tag != "job_info":
            raise no_answer(result)
        for job in root.iter("job_list"):
            job_id = job.findtext("JB_job_number", "").strip()
            yield self.read_job(job_id, f"<job_info>{ElementTree.tostring(job, 'unicode')}</job_info>")

    def read_state(self, text: str) -> JobStatus:
        """Return the state from its letters; qtoolkit knows only some of their combinations."""
        state = _STATE.search(text)
        if not state:
            return UNKNOWN
        meanings = (meaning for letters, meaning in _LETTERS.items() if set(letters) & set(state[1]))
        return JobStatus(next(meanings, UNKNOWN.name), state[1])
