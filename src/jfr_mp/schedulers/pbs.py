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
        """Ask for the ids, or for everybody's jobs: not every qstat gives the long form for a user."""
        if job_ids:
            yield from super().list_commands(job_ids)
        else:
            yield self._argv(self.io.get_jobs_list_cmd(None, None))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Read job by job; of those that do not exist any more, qstat says so."""
        blocks = re.split(r"^Job Id: ", result.stdout, flags=re.MULTILINE)[1:]
        denied = _DENIED.findall(result.stderr)
        if not blocks and not denied and (result.returncode != 0 or result.stdout.strip() or result.stderr.strip()):
            raise no_answer(result)
        for block in blocks:
            yield self.read_job(block.partition("\n")[0].strip(), f"Job Id: {block}")
        for unknown, finished in denied:
            yield Listed(unknown or finished, GONE)

    def read_state(self, text: str) -> JobStatus:
        """Read the state alone; qtoolkit's parser gives up where one of many other fields is missing."""
        state = _STATE.search(text)
        return status_named(PBSState, state and state[1])
