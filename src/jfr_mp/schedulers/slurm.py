"""Slurm: sbatch, squeue, scontrol, scancel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qtoolkit.io.slurm import SlurmState

from jfr_mp.hosts import CommandResult
from jfr_mp.schedulers.dialect import Dialect, JobStatus, Listed, no_answer, status_named

if TYPE_CHECKING:
    from qtoolkit.io.slurm import SlurmIO

#: The message of squeue if it knows none of the requested jobs. If it knows some of them, it omits the others silently.
_NO_SUCH_JOB = "Invalid job id specified"
_STATE = re.compile(r"\bJobState=(\w+)")


class Slurm(Dialect):
    """Slurm."""

    io: SlurmIO
    id_variable = "SLURM_JOB_ID"
    #: The sbatch of a site may print other lines as well.
    id_finder = r"s/^Submitted batch job \([0-9][0-9]*\).*/\1/p"
    show_command = ("scontrol", "show", "job", "-o")
    gone = re.compile(f"{_NO_SUCH_JOB}|already completing or completed")

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Return commands that include ended jobs, and the heading, which shows that an empty list is an answer."""
        return map(_complete, super().list_commands(job_ids, user))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer; each row is parsed separately."""
        separator = self.io.split_separator
        rows = [row for row in result.stdout.splitlines() if separator in row]
        if result.returncode != 0 and _NO_SUCH_JOB in result.stderr:
            return
        if result.returncode != 0 or not rows:
            raise no_answer(result)
        for row in rows[1:]:
            yield self.read_job(row.split(separator)[0].strip(), row)

    def read_state(self, text: str) -> JobStatus:
        """Return the state in the output of scontrol; qtoolkit's parser fails if a directory name contains a space."""
        state = _STATE.search(text)
        return status_named(SlurmState, state and state[1])


def _complete(command: list[str]) -> list[str]:
    """Return qtoolkit's squeue command without its leading variable and with all states and the heading."""
    return [*(word for word in command[1:] if word != "--noheader"), "--states=all"]
