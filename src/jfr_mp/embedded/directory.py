"""The private directory of a managed mongod."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, Field, ValidationError

from jfr_mp.embedded.log import summary
from jfr_mp.errors import EmbeddedError


class Record(BaseModel):
    """The persistent data about the server: its port and its user.

    Parameters
    ----------
    port
        The port on 127.0.0.1. It never changes, because the configuration of the replica set contains it.
    username, password
        The only user. The password is random.
    prepared
        Whether the replica set and the user have been created.
    """

    port: int
    username: str = "jfr_mp"
    password: str = Field(repr=False)
    prepared: bool = False


class Directory:
    """The files of one managed mongod. The directory has mode 0700, the files in it 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.data = self.path / "data"
        self.log = self.path / "mongod.log"
        self.key_file = self.path / "keyfile"
        self.pid_file = self.path / "mongod.pid"
        self._record_file = self.path / "managed.json"

    @property
    def pid(self) -> int | None:
        """The pid of the mongod that is running on this data, or None.

        A pid file may be stale: its pid may belong to another program by now, or to a zombie that is not reaped.
        """
        try:
            process = psutil.Process(int(self.pid_file.read_text()))
            runs_here = str(self.data) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return process.pid if runs_here else None

    @property
    def exists(self) -> bool:
        """Whether the directory contains a managed database."""
        return self._record_file.exists()

    def make(self, port: int | None) -> Record:
        """Create the directory with the record of a new server, or return the existing record.

        Parameters
        ----------
        port
            The port of a new server; None chooses a free port.

        Raises
        ------
        EmbeddedError
            The existing database has another port.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with self.exclusive():
            if self.exists:
                return self.read(port)
            self.data.mkdir(mode=0o700, exist_ok=True)
            _write_private(self.key_file, secrets.token_hex(64))
            record = Record(port=port or _free_port(), password=secrets.token_urlsafe(24))
            self.write(record)
            return record

    def read(self, port: int | None = None) -> Record:
        """Return the record.

        Parameters
        ----------
        port
            The port in the project file; None if there is no project file yet.

        Raises
        ------
        EmbeddedError
            There is no managed database here, its record is damaged, or it has another port.
        """
        try:
            record = Record.model_validate_json(self._record_file.read_bytes())
        except FileNotFoundError:
            raise EmbeddedError(
                f"there is no managed database in {self.path}: create a project with one by `jfr-mp init`, "
                "or correct metadata.jfr_mp.embedded_db.dir in the project file"
            ) from None
        except ValidationError:
            raise EmbeddedError(f"{self._record_file} is damaged: restore it from a backup") from None
        if port is not None and port != record.port:
            raise EmbeddedError(
                f"the managed database in {self.path} has port {record.port}, not {port}: "
                "correct metadata.jfr_mp.embedded_db.port in the project file"
            )
        return record

    def write(self, record: Record) -> None:
        """Write the record."""
        _write_private(self._record_file, record.model_dump_json(indent=1))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let only one process at a time create, start or stop the server; the kernel frees the lock of a dead one."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error of the operating system into an `EmbeddedError` that names this directory."""
        try:
            yield
        except OSError as error:
            what = ": ".join(filter(None, [error.strerror or str(error), error.filename]))
            raise EmbeddedError(f"the managed database in {self.path} cannot be used: {what}") from error

    def log_size(self) -> int:
        """Return the current size of the log in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def complaints(self, since: int = 0) -> str:
        """Return the messages about a failure that mongod has logged after an offset in bytes; see `summary`."""
        try:
            with self.log.open("rb") as file:
                file.seek(since)
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return summary(lines)


def _write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically, so that it is never readable by other users and never incomplete."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def _free_port() -> int:
    """Return a TCP port on the loopback interface that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
