"""The directories in which the masters of this machine keep their sockets, and how other processes find them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from jfr_mp.errors import BusError
from jfr_mp.identity import ProcessIdentity, host_name, this_machine
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: The address of a Unix socket has room for 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100
#: Room for the longest name that `RunDir` puts below the runtime directory.
_ROOM = len("/4194304/events-out.sock")
#: Characters of the host name in the name of the directory; it is there for the user.
_LONGEST_HOST = 16
#: Not `tempfile.gettempdir()`: TMPDIR differs between shells, and each must find the masters that another started.
_SHORT_PARENT = Path("/tmp")


def runtime_dir(project: Project) -> Path:
    """Return the directory of a project's masters on this machine, after making it private.

    Raises
    ------
    BusError
        If it cannot be made, or belongs to another user.
    """
    return _private(runtime_path(Path(project.daemon_dir)))


def runtime_path(daemon_dir: Path) -> Path:
    """Return the path of the directory of the masters on this machine.

    It is in the project's daemon_dir, or in /tmp if the path of a socket would be too long there. Machines that share
    the file system have different ones, even if their host names are equal.
    """
    path = daemon_dir.absolute() / "jfr_mp" / f"{host_name()[:_LONGEST_HOST]}-{this_machine()[:8]}"
    if len(os.fsencode(path)) + _ROOM <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return _SHORT_PARENT / f"jfr-mp-{os.getuid()}-{digest}"


def warm_path(project: Project) -> Path:
    """Return the directory with the sockets of the warm servers of this host, which need not exist."""
    return runtime_path(Path(project.daemon_dir)) / "w"


def _private(path: Path) -> Path:
    """Make a directory of mode 0700, or make sure that the existing one is this user's, as /tmp is open to all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if path.is_symlink() or status.st_uid != os.getuid():
            raise BusError(f"{path} does not belong to you: another user made it; remove it, or have it removed")
        if status.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise BusError(f"cannot make the directory of the sockets {path}: {error.strerror}") from error
    return path


@contextmanager
def exclusive(runtime: Path) -> Iterator[None]:
    """Let one process at a time look at the masters and add one: two could otherwise take the same role."""
    with (runtime / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class MasterFile(ProcessIdentity):
    """The file ``master.json``: which process the master is, and how many processes of each role it keeps."""

    owner: str
    roles: dict[Role, int]
    project: str
    started: datetime
    #: The roles whose processes do not run until `jfr-mp resume`.
    held: frozenset[Role] = frozenset()
    #: The pid of the process that forks the role processes, if it is not the master itself that starts them.
    fork_server: int | None = None


class RunDir:
    """The directory of one master, ``<runtime_dir>/<pid>``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = ""

    @property
    def control(self) -> str:
        """The address of the control channel."""
        return f"ipc://{self.path / 'control.sock'}"

    @property
    def events_in(self) -> str:
        """The address to which events are published."""
        return f"ipc://{self.path / 'events-in.sock'}"

    @property
    def events_out(self) -> str:
        """The address that subscribers of events connect to."""
        return f"ipc://{self.path / 'events-out.sock'}"

    @property
    def master(self) -> MasterFile | None:
        """The file of its master, or None if there is none that can be read."""
        try:
            return MasterFile.model_validate_json((self.path / "master.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def create(self, master: MasterFile) -> None:
        """Make the directory, in the place of one that a dead master of the same pid left.

        Raises
        ------
        BusError
            It cannot be made, for example because the disk is full.
        """
        self.remove()
        self._content = master.model_dump_json()
        self.restore()

    def note_roles(self, roles: Mapping[Role, int], held: Iterable[Role]) -> None:
        """Write how many processes of each role the master keeps from now on, and which of them do not run."""
        if (master := self.master) is not None:
            update = {"roles": dict(roles), "held": frozenset(held)}
            self._content = master.model_copy(update=update).model_dump_json()
            self.restore()

    def restore(self) -> None:
        """Make again what was deleted of the directory, except for the sockets.

        Raises
        ------
        BusError
            It cannot be made.
        """
        _private(self.path.parent)
        _private(self.path)
        if not self._content:
            return
        unfinished = self.path / "master.json.new"
        try:
            unfinished.write_text(self._content, encoding="utf-8")
            unfinished.rename(self.path / "master.json")
        except OSError as error:
            raise BusError(f"cannot write {self.path / 'master.json'}: {error.strerror}") from error

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it was deleted, by the cleaning of /tmp for example."""
        names = ("control.sock", "events-in.sock", "events-out.sock", *(("master.json",) if self._content else ()))
        return all((self.path / name).exists() for name in names)

    def remove(self) -> None:
        """Remove the directory and the sockets in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def run_dirs(runtime: Path) -> list[RunDir]:
    """Return the directories of all masters on this machine, including dead ones."""
    return [RunDir(path) for path in sorted(runtime.iterdir()) if path.name.isdigit()]
