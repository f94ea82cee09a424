"""Starting, watching and ending the processes of a test, always by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

#: The directory of the checkout; on PYTHONPATH, workers can import `tests.support.jobs`.
ROOT = Path(__file__).resolve().parents[2]
#: The command of the environment that runs the tests.
JFR_MP = str(Path(sys.executable).with_name("jfr-mp"))


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(pids: Iterable[int], timeout: float = 20.0) -> None:
    """Wait until none of the processes runs any more."""
    pids = list(pids)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout, f"the end of the processes {pids}")


def end(pid: int, timeout: float = 20.0) -> None:
    """End a process and everything below it: SIGTERM first, SIGKILL for what is left."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        _signal(member, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=timeout)
    for member in left:
        _signal(member, signal.SIGKILL)
    wait_gone(member.pid for member in family)


def pids_with(variable: str, value: str) -> list[int]:
    """Return the processes, without this one, that were started with an environment variable of that value.

    It finds daemons too, whatever their parent, because the variable is inherited.
    """
    found = []
    for process in psutil.process_iter():
        try:
            matches = process.environ().get(variable) == value
        except (psutil.Error, OSError):
            continue
        if matches and process.pid != os.getpid() and is_alive(process.pid):
            found.append(process.pid)
    return found


def run_cli(
    *argv: str, env: Mapping[str, str], timeout: float = 60.0, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``jfr-mp ARGV`` as a user would and return what it printed, whatever its exit code."""
    return run([JFR_MP, *argv], env=env, timeout=timeout, cwd=cwd, stdin=stdin)


def run(
    argv: Sequence[str], *, env: Mapping[str, str], timeout: float = 60.0, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed, whatever its exit code."""
    return subprocess.run(
        list(argv), env=dict(env), cwd=cwd, input=stdin, text=True, capture_output=True, timeout=timeout, check=False
    )


class Processes:
    """The processes that one test starts in the background; `end_all` ends those that still run."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; its output goes to ``log_dir/<number>.log``."""
        with (self.log_dir / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                list(argv),
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process has printed until now."""
        return (self.log_dir / f"{self.started.index(process)}.log").read_text(errors="replace")

    def end_all(self) -> None:
        """End every process that still runs, and reap all of them."""
        for process in self.started:
            if process.poll() is None:
                end(process.pid)
            process.wait()


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
