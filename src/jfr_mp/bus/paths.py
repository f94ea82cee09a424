"""Where a master of this host keeps its sockets, and how others find them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import BaseModel, ValidationError

from jfr_mp.errors import BusError
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: The address of a Unix socket has room for 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100
#: Room for the longest name that `RunDir` puts below the runtime directory.
_ROOM = len("/4194304/events-out.sock")
#: Not `tempfile.gettempdir()`: TMPDIR differs between shells, and each must find the masters of the others.
_SHORT_PARENT = Path("/tmp")


def runtime_dir(project: Project) -> Path:
    """Return the directory with the sockets of this host's masters of a project; it exists and is private.

    Raises
    ------
    BusError
        If it cannot be made, or does not belong to this user alone.
    """
    return _private(runtime_path(Path(project.daemon_dir)))


def runtime_path(daemon_dir: Path) -> Path:
    """Return where the directory with the sockets of this host's masters is.

    It lies in the project's daemon_dir, or in a short path of its own where the name of a socket would be too long.
    """
    path = daemon_dir.absolute() / "jfr_mp" / socket.gethostname()
    if len(os.fsencode(path)) + _ROOM <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return _SHORT_PARENT / f"jfr-mp-{os.getuid()}-{digest}"


def _private(path: Path) -> Path:
    """Make a directory of mode 0700, or make sure that the one in its place is ours: /tmp is open to everybody."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if path.is_symlink() or status.st_uid != os.getuid():
            raise BusError(f"{path} does not belong to you: somebody else made it; remove it, or have it removed")
        if status.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise BusError(f"cannot make the directory of the sockets {path}: {error.strerror}") from error
    return path


@contextmanager
def exclusive(runtime: Path) -> Iterator[None]:
    """Let one process at a time look who runs here and settle; two masters could otherwise take the same role."""
    with (runtime / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_alive(pid: int, create_time: float) -> bool:
    """Tell whether the process that had this pid at this time still runs.

    Parameters
    ----------
    pid
        Its number, which another process may have by now.
    create_time
        When it was started, in seconds since the epoch as psutil gives it: it tells it from that other one.

    Returns
    -------
    bool
        False for a zombie too: it does nothing any more, but the first process of a container may leave it there.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - create_time) < 1.0
    except psutil.NoSuchProcess:
        return False


class MasterFile(BaseModel):
    """What ``master.json`` says: who the master is and how many processes of each role it keeps."""

    pid: int
    create_time: float
    owner: str
    roles: dict[Role, int]
    project: str
    started: datetime

    @property
    def alive(self) -> bool:
        """Whether this master still runs."""
        return process_alive(self.pid, self.create_time)


class RunDir:
    """The directory of one master, ``<runtime_dir>/<pid>``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def control(self) -> str:
        """The address at which the master is spoken to."""
        return f"ipc://{self.path / 'control.sock'}"

    @property
    def events_in(self) -> str:
        """The address at which events are published."""
        return f"ipc://{self.path / 'events-in.sock'}"

    @property
    def events_out(self) -> str:
        """The address at which events are heard."""
        return f"ipc://{self.path / 'events-out.sock'}"

    @property
    def master(self) -> MasterFile | None:
        """What its master wrote about itself, or None where it never got so far."""
        try:
            return MasterFile.model_validate_json((self.path / "master.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def create(self, master: MasterFile) -> None:
        """Make the directory; what a dead master of the same pid left there goes."""
        self.remove()
        self.path.mkdir(mode=0o700)
        unfinished = self.path / "master.json.new"
        unfinished.write_text(master.model_dump_json(), encoding="utf-8")
        unfinished.rename(self.path / "master.json")

    def remove(self) -> None:
        """Remove the directory and the sockets in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def run_dirs(runtime: Path) -> list[RunDir]:
    """Return the directories of all masters of this host, the dead ones included."""
    return [RunDir(path) for path in sorted(runtime.iterdir()) if path.name.isdigit()]
