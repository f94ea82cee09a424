"""Jobs whose script only runs them: the warm server starts them itself, without a shell.

Two shells, a client and some small commands cost as much as a trivial job. If the project adds nothing to a script that
a shell has to interpret, the queue role asks the server for a child that does what the script would. The child becomes
the job by linking its id, as `jfr_mp.schedulers.shell` explains: only one process runs the job, whatever is killed and
whichever way a repetition takes. It writes its output where the script would, and the journal gets the same lines.

If there is no server, or anything is unusual, the caller runs the script, which starts a server for the jobs after it.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.execution.warm.client import NoServer, check_private, connected, is_cold, request
from jfr_mp.execution.warm.kinds import interpreter, kind_of, socket_path
from jfr_mp.execution.warm.wire import send
from jfr_mp.jobdata.files import OOM_SCORE

if TYPE_CHECKING:
    import _socket

#: Seconds that a server may take until the job has begun.
TIMEOUT = 5.0
#: Where a process says how soon the kernel shall kill it.
_OOM_FILE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True)
class Submission:
    """What the script of a job and its submission do beside running it; paths are relative to the run directory.

    Parameters
    ----------
    id_file
        The file with the id of the process that is the job.
    out, err
        The files for the output of the job.
    title
        The first line of its output.
    journal
        The journal of the worker.
    job, token
        What the lines in the journal name: ``<uuid>_<index>`` and the submission token.
    """

    id_file: str
    out: str
    err: str
    title: str
    journal: str
    job: str
    token: str

    def __post_init__(self) -> None:
        """Raise a TypeError if it is not made of texts: it comes over a socket."""
        if not all(isinstance(value, str) for value in astuple(self)):
            raise TypeError("a submission consists of texts")

    def begin(self, told: int) -> bool:
        """Become the job, in its run directory; return False if another process is the job.

        Parameters
        ----------
        told
            The pipe to which the id of the job is written, and which is closed.
        """
        own = f".{self.id_file}.{os.getpid()}"
        Path(own).write_text(f"{os.getpid()}\n")
        try:
            os.link(own, self.id_file)
        except FileExistsError:
            _tell(told, Path(self.id_file).read_text())
            return False
        finally:
            Path(own).unlink()
        for name, number in ((self.out, 1), (self.err, 2)):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, number)
            os.close(file)
        _go_first()
        self.report("start")
        _tell(told, f"{os.getpid()}\n")
        os.write(1, f"{self.title}\n".encode())
        return True

    def report_end(self, run_dir: str, pid: int) -> None:
        """Report the end of a process, if it was the job."""
        with suppress(OSError):
            if Path(run_dir, self.id_file).read_text().strip() == str(pid):
                self.report("end")

    def report(self, what: str) -> None:
        """Append a line to the journal; if it cannot be written, the scheduler's answer has to do."""
        line = f"{what} {self.job} {self.token} {time.time():.6f}\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with suppress(OSError):
            Path(self.journal).parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.journal, flags, 0o666)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)


def _go_first() -> None:
    """Let the kernel kill this process rather than the runner, as `jfr_mp.schedulers.shell` does for a script."""
    # Another system than Linux has no such file.
    with suppress(OSError, ValueError):
        if int(_OOM_FILE.read_text()) < OOM_SCORE:
            _OOM_FILE.write_text(str(OOM_SCORE))


def _tell(pipe: int, text: str) -> None:
    # The process that asked may be dead; the job does not depend on it.
    with suppress(OSError):
        os.write(pipe, text.encode())
    os.close(pipe)


def environment_of_script(base: Mapping[str, str], exports: Mapping[str, str], run_dir: str) -> dict[str, str]:
    """Return the environment that a job finds if its script changes to the run directory and exports variables."""
    level = base.get("SHLVL", "")
    shell = {"PWD": run_dir, "OLDPWD": run_dir, "SHLVL": str(int(level) + 1 if level.isdecimal() else 1)}
    return {**base, **shell, "_": sys.executable, **exports}


def submit(
    warm_dir: Path, command: Sequence[str], run_dir: str, environment: Mapping[str, str], submission: Submission
) -> str | None:
    """Let a warm server start a job that has not been started yet.

    Parameters
    ----------
    warm_dir
        The directory with the sockets of the servers.
    command
        The arguments of the worker command.
    run_dir
        The run directory.
    environment
        The environment of the job.
    submission
        What the job does beside running.

    Returns
    -------
    str or None
        The id of the process that is the job. None if that is not known: run the script then, which finds out.
    """
    with suppress(NoServer, OSError, ValueError, StopIteration):
        directory = environment.get("JFR_MP_WARM_DIR", str(warm_dir))
        kind = kind_of(interpreter(environment.get("PATH", ""), sys.executable), environment)
        path = socket_path(directory, kind)
        if directory == "-" or is_cold(path):
            return None
        check_private(directory)
        if connection := connected(path):
            values = {"umask": _umask(), "submission": asdict(submission)}
            fields = request(kind, command, (), environment=environment, directory=run_dir, **values)
            with closing(connection):
                return _asked(connection, fields)
    return None


def _umask() -> int:
    """Return the umask of this process, which it cannot set and restore as long as other threads make files."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)


def _asked(connection: _socket.socket, fields: list[bytes]) -> str | None:
    told, tell = os.pipe()
    begins, begin = os.pipe()
    try:
        os.write(begin, b"!")
        send(connection, fields, [tell, begins, begins])
        os.close(tell)
        tell = -1
        text = _line(told, time.monotonic() + TIMEOUT).strip()
        return text if text.isdecimal() else None
    finally:
        for file in (told, tell, begins, begin):
            if file >= 0:
                os.close(file)


def _line(pipe: int, deadline: float) -> str:
    """Return a line from a pipe, or less if it ends before."""
    content, poll = b"", select.poll()
    poll.register(pipe, select.POLLIN)
    while not content.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            part = os.read(pipe, 4096)
            if not part:
                break
            content += part
    return content.decode()
