"""The managed mongod: a replica set of one member on the loopback interface, started when needed.

It is a replica set because MongoDB supports transactions only in replica sets. It has a password because every user of
the machine can reach the loopback interface.
"""

from __future__ import annotations

import errno
import logging
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from jfr_mp.embedded.binary import find_mongod, missing_library
from jfr_mp.embedded.directory import Directory, Record
from jfr_mp.errors import DatabaseError, DatabaseUnavailable, EmbeddedError

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.config.options import EmbeddedDb

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
REPLICA_SET = "jfr_mp"
#: The roles of the user: full access to the data, but not to the server.
ROLES = ("readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor")
#: Seconds until the first write must succeed; 0.6 s is usual, but recovery after a power failure takes longer.
START_TIMEOUT = 60.0
#: Seconds to wait for a port that is in use.
PORT_TIMEOUT = 2.0
#: Seconds that a clean shutdown may take; 0.5 s is usual.
STOP_TIMEOUT = 60.0
#: Options that reduce a new data directory from 300 MB to 3 MB, and the memory to about 115 MB.
_SMALL_FOOTPRINT = (
    "--oplogSize=128",
    "--wiredTigerCacheSizeGB=0.25",
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(file_max=2MB,prealloc=false)",
)


@dataclass(frozen=True)
class EmbeddedStatus:
    """The status of a managed mongod.

    Parameters
    ----------
    pid
        The pid of its process, or None if it is not running.
    address
        The address on which it listens, ``host:port``.
    directory, log
        The paths of its directory and of its log.
    """

    pid: int | None
    address: str
    directory: Path
    log: Path

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.pid is not None


class EmbeddedMongo:
    """The managed mongod of a project.

    Parameters
    ----------
    options
        Its options, `metadata.jfr_mp.embedded_db` of the project.
    """

    def __init__(self, options: EmbeddedDb) -> None:
        self._port = options.port
        self._directory = Directory(options.dir)

    def start(self) -> bool:
        """Start the server unless it is running, and return when it accepts writes.

        Any number of processes may call this at the same time; one of them starts the server.

        Returns
        -------
        bool
            Whether the server had to be started.

        Raises
        ------
        EmbeddedError
            There is no mongod program or one of its libraries is missing, the port is in use, the directory is not
            writable or full, or mongod refuses to start; the message contains the errors in its log.
        """
        with self._directory.explained():
            record = self._directory.read(self._port)
            if record.prepared and self._directory.pid is not None:
                return False
            with self._directory.exclusive():
                return self._start_alone(self._directory.read(self._port))

    def stop(self) -> bool:
        """Shut the server down cleanly and return when it has exited. Its data are kept.

        Returns
        -------
        bool
            Whether the server was running.

        Raises
        ------
        EmbeddedError
            The server did not exit in time, or it belongs to another user.
        """
        with self._directory.explained():
            self._directory.read(self._port)
            with self._directory.exclusive():
                if (pid := self._directory.pid) is None:
                    return False
                self._end(pid)
                logger.info("stopped the managed mongod, pid %d", pid)
                return True

    def status(self) -> EmbeddedStatus:
        """Return the status of the server, without connecting to it."""
        self._directory.read(self._port)
        return EmbeddedStatus(
            pid=self._directory.pid,
            address=f"{HOST}:{self._port}",
            directory=self._directory.path,
            log=self._directory.log,
        )

    def _start_alone(self, record: Record) -> bool:
        """Start and initialise the server unless that is done; the caller must hold the lock of the directory."""
        from jfr_mp.database import mongod_admin

        log_end = self._directory.log_size()
        if started := self._directory.pid is None:
            self._check_port()
            self._spawn(log_end)
        try:
            if not record.prepared:
                mongod_admin.initiate_replica_set(self._port, REPLICA_SET)
            self._wait_writable()
            if not record.prepared:
                mongod_admin.create_user(self._port, record.username, record.password, ROLES)
                self._directory.write(record.model_copy(update={"prepared": True}))
        except DatabaseError as error:
            raise EmbeddedError(
                f"the managed mongod on {HOST}:{self._port} cannot be used: {error}; "
                f"from its log, {self._directory.log}:\n{self._directory.complaints(log_end)}"
            ) from error
        if started:
            logger.info("started the managed mongod on %s:%d, pid %s", HOST, self._port, self._directory.pid)
        return started

    def _wait_writable(self) -> None:
        """Wait until the server accepts writes; stop waiting if it has exited."""
        from jfr_mp.database import mongod_admin

        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return mongod_admin.wait_writable(self._port, timeout=1.0)
            except DatabaseUnavailable:
                if self._directory.pid is None or time.monotonic() > deadline:
                    raise

    def _end(self, pid: int) -> None:
        """Send SIGTERM, on which mongod shuts down cleanly, and wait until it has exited."""
        try:
            process = psutil.Process(pid)
            process.terminate()
            process.wait(STOP_TIMEOUT)
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied:
            raise EmbeddedError(f"mongod (pid {pid}) belongs to another user, who has to stop it") from None
        except psutil.TimeoutExpired:
            raise EmbeddedError(
                f"mongod (pid {pid}) did not exit within {STOP_TIMEOUT:g} s: see {self._directory.log}"
            ) from None

    def _check_port(self) -> None:
        """Raise an error if the port is in use, because the message of mongod is less helpful."""
        # The threads of a mongod that was just killed hold the port slightly longer than its pid exists.
        deadline = time.monotonic() + PORT_TIMEOUT
        while _is_taken(self._port):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the managed mongod in {self._directory.path} cannot start: port {self._port} of {HOST} is used "
                    f"by another program; stop that program (`ss -ltnp 'sport = :{self._port}'` shows it)"
                )
            time.sleep(0.05)

    def _spawn(self, log_end: int) -> None:
        """Start mongod as a daemon and return when it listens; its log begins at the offset `log_end`."""
        directory = self._directory
        command = [
            str(find_mongod()),
            *("--dbpath", str(directory.data), "--bind_ip", HOST, "--port", str(self._port), "--nounixsocket"),
            *("--replSet", REPLICA_SET, "--keyFile", str(directory.key_file), *_SMALL_FOOTPRINT),
            *("--fork", "--logpath", str(directory.log), "--logappend", "--pidfilepath", str(directory.pid_file)),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=directory.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=START_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError(
                f"mongod did not start listening within {START_TIMEOUT:g} s; from its log, {directory.log}:\n"
                f"{directory.complaints(log_end)}"
            ) from None
        if done.returncode != 0:
            why = missing_library(done.stdout) or directory.complaints(log_end) or done.stdout.strip()
            raise EmbeddedError(f"{command[0]} cannot start in {directory.path} (exit code {done.returncode}): {why}")
        directory.pid_file.chmod(0o600)  # mongod makes this file readable by all users


def ensure_running(project: Project) -> bool:
    """Start the managed database of a project if it has one that is not running.

    Returns
    -------
    bool
        Whether the database had to be started.

    Raises
    ------
    EmbeddedError
        As for `EmbeddedMongo.start`.
    """
    options = project.jfr_mp.embedded_db
    return options is not None and EmbeddedMongo(options).start()


def _is_taken(port: int) -> bool:
    """Return whether a program listens on a port; lingering connections of a stopped server do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
