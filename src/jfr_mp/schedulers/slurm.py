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

#: What squeue says when it is asked for jobs of which it knows none; of one among others it says nothing.
_NO_SUCH_JOB = "Invalid job id specified"
_STATE = re.compile(r"\bJobState=(\w+)")


class Slurm(Dialect):
    """Slurm."""

    io: SlurmIO
    id_variable = "SLURM_JOB_ID"
    #: The sbatch of a site may print more than this line.
    id_finder = r"s/^Submitted batch job \([0-9][0-9]*\).*/\1/p"
    show_command = ("scontrol", "show", "job", "-o")
    gone = re.compile(f"{_NO_SUCH_JOB}|already completing or completed")

    def list_commands(self, job_ids: Sequence[str], user: str | None = None) -> Iterator[list[str]]:
        """Ask for ended jobs too, and for the heading, which tells an answer without jobs from none."""
        return map(_complete, super().list_commands(job_ids, user))

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Read row by row."""
        separator = self.io.split_separator
        rows = [row for row in result.stdout.splitlines() if separator in row]
        if result.returncode != 0 and _NO_SUCH_JOB in result.stderr:
            return
        if result.returncode != 0 or not rows:
            raise no_answer(result)
        for row in rows[1:]:
            yield self.read_job(row.split(separator)[0].strip(), row)

    def read_state(self, text: str) -> JobStatus:
        """Read what scontrol says; qtoolkit's parser gives up at a directory with a space in its name."""
        state = _STATE.search(text)
        return status_named(SlurmState, state and state[1])


def _complete(command: list[str]) -> list[str]:
    """Change a squeue of qtoolkit, which begins with a variable for times that are not asked for."""
    return [*(word for word in command[1:] if word != "--noheader"), "--states=all"]
