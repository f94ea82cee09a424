"""PBS: qsub, qstat, qdel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from qtoolkit.io.pbs import PBSState

from jfr_mp.hosts import CommandResult
from jfr_mp.schedulers.dialect import GONE, Dialect, JobStatus, Listed, no_answer, status_named

_DENIED = re.compile(r"Unknown Job Id (\S+)|(\S+) Job has finished")
_STATE = re.compile(r"^\s*job_state = (\S+)", re.MULTILINE)


class Pbs(Dialect):
    """OpenPBS and PBS Professional."""

    id_variable = "PBS_JOBID"
    id_finder = r"/^[0-9][][0-9]*\.[A-Za-z0-9_.-]*$/p"
    show_command = ("qstat", "-f")
    gone = re.compile("Unknown Job Id|Job has finished")

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Return the commands for some ids, or for the jobs of all users: not every qstat has a long form by user."""
        if job_ids:
            yield from super().list_commands(job_ids)
        else:
            yield self._argv(self.io.get_jobs_list_cmd(None, None))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer, including jobs that qstat reports as finished or unknown."""
        blocks = re.split(r"^Job Id: ", result.stdout, flags=re.MULTILINE)[1:]
        denied = _DENIED.findall(result.stderr)
        if not blocks and not denied and (result.returncode != 0 or result.stdout.strip() or result.stderr.strip()):
            raise no_answer(result)
        for block in blocks:
            yield self.read_job(block.partition("\n")[0].strip(), f"Job Id: {block}")
        for unknown, finished in denied:
            yield Listed(unknown or finished, GONE)

    def read_state(self, text: str) -> JobStatus:
        """Return the state only; qtoolkit's parser fails if any of many other fields is missing."""
        state = _STATE.search(text)
        return status_named(PBSState, state and state[1])
