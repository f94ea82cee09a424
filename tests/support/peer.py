"""jobflow-remote in an environment of its own, on the same project and database as jfr-mp."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.processes import ROOT, end, run, wait_gone
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

#: Runs in the peer's environment; its first argument names one of its functions.
TOOL = ROOT / "tests" / "interop" / "peer_tool.py"

#: The options of a project with which the peer is as fast as it can be.
FAST = {"delay_checkout": 1, "delay_check_run_status": 1, "delay_advance_status": 1, "delta_retry": [1]}


class Peer:
    """What a user of jobflow-remote does with a project.

    Parameters
    ----------
    python
        The Python of the environment that has jobflow-remote.
    project
        The project to work on.
    """

    def __init__(self, python: Path, project: TestProject) -> None:
        self._bin = python.parent
        self._python = str(python)
        self.project = project

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of its processes: its `jf` goes first, our `jfr-mp` is there as well."""
        env = self.project.env
        return {**env, "PATH": f"{self._bin}:{env['PATH']}", "COLUMNS": "250", "NO_COLOR": "1"}

    def command(self, *argv: str) -> list[str]:
        """Return the command line of ``jf ARGV``; errors in it show their traceback."""
        return [str(self._bin / "jf"), "-fe", *argv]

    def jf(self, *argv: str, stdin: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run ``jf ARGV`` as a user would and return what it printed, whatever its exit code."""
        return run([str(self._bin / "jf"), *argv], env=self.env, stdin=stdin, timeout=timeout)

    def check(self, *argv: str) -> str:
        """Run ``jf ARGV``, which must succeed, and return what it printed."""
        return _output(self.jf(*argv))

    def tool(self, *argv: str, timeout: float = 260.0) -> str:
        """Call a function of `TOOL`, which must succeed, and return what it printed."""
        return _output(run(self._tool(argv), env=self.env, timeout=timeout))

    def start_daemon(self) -> psutil.Process:
        """Run ``jf runner start --single`` and return its supervisord once it is up.

        The exit code says nothing of it: ``jf`` may ask its supervisord before that has written its pid.
        """
        started = self.jf("runner", "start", "--single")
        pid_file = self.project.daemon_dir / "supervisord.pid"
        what = f"the peer's daemon, of which it said:\n{started.stdout}{started.stderr}"
        return psutil.Process(int(wait_until(lambda: pid_file.exists() and pid_file.read_text().strip(), 30, what)))

    def shut_down_daemon(self, supervisord: psutil.Process) -> None:
        """Run ``jf runner shutdown`` and wait until the daemon is gone.

        Its own ``--wait`` fails if it looks while the socket is removed and the process still there.
        """
        self.check("runner", "shutdown")
        wait_gone([supervisord.pid], 60)

    @contextmanager
    def holding(self, collection: str, *uuids: str) -> Iterator[None]:
        """Keep documents locked, by the peer's code in a process of its own, for the time of the context."""
        with subprocess.Popen(
            self._tool(["hold", collection, *uuids]),
            env=dict(self.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stdout.readline() == "held\n"
                yield
                process.stdin.close()
                assert process.wait(timeout=30) == 0
            finally:
                end(process.pid)

    def _tool(self, argv: Sequence[str]) -> list[str]:
        return [self._python, str(TOOL), *argv]


def _output(completed: subprocess.CompletedProcess[str]) -> str:
    assert completed.returncode == 0, f"{completed.args} failed:\n{completed.stdout}\n{completed.stderr}"
    return completed.stdout
