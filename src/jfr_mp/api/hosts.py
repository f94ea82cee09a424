"""The host of a worker, with the methods of jobflow-remote's hosts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from jfr_mp.errors import HostError
from jfr_mp.hosts import BaseHost, CommandResult

_Path = str | Path


class WorkerHost:
    """Commands and files on the host of a worker; it connects when it is used first.

    Methods raise `HostError`, unless their description says otherwise.

    Parameters
    ----------
    host
        The host.
    timeout
        Seconds that a command may take by default.
    """

    def __init__(self, host: BaseHost, timeout: float | None = None) -> None:
        self.host = host
        self._timeout = timeout

    def connect(self) -> None:
        """Connect, unless there is a connection already or none is needed."""
        self.host.connect()

    def close(self) -> bool:
        """Close the connection, and return True."""
        self.host.close()
        return True

    @property
    def is_connected(self) -> bool:
        """Whether commands can be run now."""
        return self.host.is_connected

    def execute(
        self, command: str | Sequence[str], workdir: _Path | None = None, timeout: float | None = None
    ) -> tuple[str, str, int]:
        """Run a shell command and return its standard output, its standard error and its exit code.

        Parameters
        ----------
        command
            The command; a list is joined by spaces.
        workdir
            The working directory.
        timeout
            Seconds that it may take; None for the limit of the worker.
        """
        script = command if isinstance(command, str) else " ".join(command)
        done = self._run(script, workdir=workdir, timeout=timeout)
        return done.stdout, done.stderr, done.returncode

    def test(self) -> str | None:
        """Return why commands cannot be run, or None if they can."""
        try:
            stdout, stderr, code = self.execute("echo test")
        except HostError as error:
            return str(error)
        if (stdout.strip(), stderr.strip(), code) == ("test", "", 0):
            return None
        return f"`echo test` printed {stdout!r} and {stderr!r} and ended with {code}; see sanitize_command"

    def mkdir(self, directory: _Path, recursive: bool = True, exist_ok: bool = True) -> bool:
        """Make a directory, with its parents if `recursive`; return whether it is there as wanted."""
        options = "-p" if recursive and exist_ok else ""
        script = f'mkdir {options} -- "$1"'
        if recursive and not exist_ok:
            script = 'mkdir -p -- "$(dirname "$1")" && mkdir -- "$1"'
        elif exist_ok and not recursive:
            script = 'test -d "$1" || mkdir -- "$1"'
        return self._run(script, directory).returncode == 0

    def write_text_file(self, filepath: _Path, content: str) -> None:
        """Write a text file, which appears complete or not at all."""
        self._connected().write(str(filepath), content.encode())

    def read_text_file(self, filepath: _Path) -> str:
        """Return the content of a text file."""
        return self._connected().read(str(filepath)).decode()

    def put(self, src: _Path, dst: _Path) -> None:
        """Copy a file of this machine to the host."""
        self._connected().put(Path(src), str(dst))

    def get(self, src: _Path, dst: _Path) -> None:
        """Copy a file of the host to this machine."""
        self._connected().get(str(src), Path(dst))

    def copy(self, src: _Path, dst: _Path) -> None:
        """Copy a file or directory on the host."""
        self._require('cp -r -- "$1" "$2"', src, dst)

    def move(self, src: _Path, dst: _Path) -> None:
        """Move a file or directory on the host."""
        self._require('mv -- "$1" "$2"', src, dst)

    def listdir(self, path: _Path) -> list[str]:
        """Return the names in a directory; empty if there is no such directory."""
        return [name for name in self._run('ls -1A -- "$1"', path).stdout.splitlines() if name]

    def remove(self, path: _Path) -> None:
        """Remove a file."""
        self._require('rm -- "$1"', path)

    def rmtree(self, path: _Path, raise_on_error: bool = False) -> bool:
        """Remove a directory and everything in it; return whether it was there and is gone."""
        done = self._run('test -e "$1" && rm -r -- "$1"', path)
        if done.returncode and raise_on_error:
            raise HostError(f"{self.host.name}: {path} cannot be removed: {done.stderr.strip() or 'no such directory'}")
        return done.returncode == 0

    def exists(self, path: _Path) -> bool:
        """Return whether there is a file or directory."""
        return self._connected().exists(str(path))

    def _connected(self) -> BaseHost:
        if not self.host.is_connected:
            self.host.connect()
        return self.host

    def _run(
        self, script: str, *paths: _Path, workdir: _Path | None = None, timeout: float | None = None
    ) -> CommandResult:
        where = str(workdir) if workdir else None
        return self._connected().run_script(script, *map(str, paths), cwd=where, timeout=timeout or self._timeout)

    def _require(self, script: str, *paths: _Path) -> None:
        done = self._run(script, *paths)
        if done.returncode:
            what = shlex.join(map(str, paths))
            raise HostError(
                f"{self.host.name}: {script.split(maxsplit=1)[0]} {what} failed: {done.stderr.strip()[:500]}"
            )
