"""A real Slurm behind a real login node, whose commands a test can make fail or lie."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT
from tests.support.slurm import Slurm
from tests.support.sshd import Sshd


class Scheduler(StrEnum):
    """How the commands of Slurm answer on the login node."""

    WELL = "well"
    SQUEUE_FAILS = "fails"
    SQUEUE_SAYS_NOTHING = "nothing"
    #: The heading, and every other job.
    SQUEUE_SAYS_HALF = "half"
    #: None of them reaches the controller.
    AWAY = "away"


_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel")
_COMMAND = """#!/bin/sh
case "$(cat '{mode}') ${{0##*/}}" in
    away* | fails?squeue)
        echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
        exit 1
        ;;
    nothing?squeue) exit 0 ;;
    half?squeue) /usr/bin/squeue "$@" | awk 'NR % 2' ;;
    *) exec "/usr/bin/${{0##*/}}" "$@" ;;
esac
"""
#: Seconds after which the controller has written down what it knows: it does that every five seconds.
_SAVED = 6.0


class Cluster:
    """A cluster that is reached by SSH.

    Parameters
    ----------
    directory
        Where configuration, state and logs are kept.
    """

    def __init__(self, directory: Path) -> None:
        self.slurm = Slurm(directory / "slurm")
        tools, self._mode = directory / "tools", directory / "squeue-mode"
        tools.mkdir()
        self.answers(Scheduler.WELL)
        for name in _COMMANDS:
            (tools / name).write_text(_COMMAND.format(mode=self._mode))
            (tools / name).chmod(0o755)
        environment = {**self.slurm.env, "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin"}
        self.sshd = Sshd(directory / "sshd", environment=environment)

    def start(self) -> None:
        """Start all servers and return when jobs can be submitted."""
        self.slurm.start()
        self.sshd.start()

    def stop(self) -> None:
        """End all jobs and servers."""
        self.sshd.stop()
        self.slurm.stop()

    def answers(self, how: Scheduler) -> None:
        """Choose how Slurm answers from now on."""
        # By a rename: a command could read the file before its content is there.
        new = self._mode.with_suffix(".new")
        new.write_text(how)
        new.rename(self._mode)

    @contextmanager
    def crash_of_the_controller(self) -> Iterator[None]:
        """Let the controller crash, and come back with the end of the context.

        It is out of reach for a while before: what Slurm accepted in the last seconds before a crash it does not know
        any more, and would give the ids of those jobs to others.
        """
        self.answers(Scheduler.AWAY)
        time.sleep(_SAVED)
        self.slurm.kill_controller()
        try:
            yield
        finally:
            self.slurm.start_controller()
            self.answers(Scheduler.WELL)

    @contextmanager
    def administrator(self) -> Iterator[None]:
        """Let somebody see to it that the node takes jobs, for the time of the context.

        A controller that crashes may have forgotten that it started a job, and starts it again. The node refuses that,
        and is drained until somebody resumes it.
        """
        end_of_work = threading.Event()

        def work() -> None:
            while not end_of_work.wait(2.0):
                if self.slurm.run("sinfo", "-h", "-p", "main", "-o", "%t") in ("drain", "drng"):
                    self.slurm.run("scontrol", "update", "NodeName=node", "State=RESUME")

        administrator = threading.Thread(target=work, name="administrator")
        administrator.start()
        try:
            yield
        finally:
            end_of_work.set()
            administrator.join()

    def worker(self, work_dir: Path, **fields: Any) -> dict[str, Any]:
        """Return a remote worker on this cluster, as a project file has it, that runs the jobs of `tests.support`."""
        ours = {
            "scheduler_type": "slurm",
            "login_shell": False,
            "pre_run": f"export PYTHONPATH={ROOT}",
            "execution_cmd": f"{sys.executable} -P -m jfr_mp.execution run {{}}",
            "timeout_execute": 20,
        }
        return self.sshd.worker(work_dir, **ours | fields)
