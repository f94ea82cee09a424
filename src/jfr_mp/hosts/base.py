"""What a host offers. `tests/contract/test_hosts.py` is the suite that every implementation must pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from jfr_mp.jobdata.files import write_atomically
from jfr_mp.jobdata.untrusted import EXCERPT

#: A path on a host. Text is best: a `Path` follows the rules of the machine that it was made on.
HostPath = str | PurePath

#: Called while a file is copied, with the number of bytes that are done and with that of all bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CommandResult:
    """What a command printed and how it ended.

    Parameters
    ----------
    stdout, stderr
        Bytes that are not UTF-8 are replaced.
    returncode
        0 means success; 127 that there is no such command; a negative number that a signal killed it.
    """

    stdout: str
    stderr: str
    returncode: int


class BaseHost(ABC):
    """A machine with a shell and files.

    Every method raises `jfr_mp.errors.HostError` with one line that names the host, the thing and the reason; it is
    marked permanent if repeating cannot help. `HostUnreachable` says that the host itself cannot be used now. Several
    threads may use one host at the same time.
    """

    #: The name of this host in messages.
    name: str
    #: The mode of the directories that are made; those above them get the usual one of the host.
    directory_mode: int = 0o700

    @abstractmethod
    def connect(self) -> None:
        """Connect, unless there is a connection already or none is needed."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether commands can be run now."""

    @abstractmethod
    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
        idempotent: bool = False,
    ) -> CommandResult:
        """Run a command to its end.

        Parameters
        ----------
        argv
            The command and its arguments, taken literally: no shell interprets them.
        cwd
            The working directory.
        timeout
            Seconds after which the command is killed and CommandTimeout raised.
        stdin
            Text for its standard input.
        idempotent
            Whether it may run twice: it is repeated once if the connection broke the first time. Any other command
            raises HostUnreachable then, and whether it ran is not known.
        """

    def run_together(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
    ) -> CommandResult:
        """Run a command as `run` does, perhaps behind commands of other threads in one shell.

        Hosts that are reached over a network need few round trips for all of them then. It must not take long, because
        the others wait for it, and a command that a signal killed has the exit code 128 + signal.
        """
        return self.run(argv, cwd=cwd, timeout=timeout, stdin=stdin)

    def run_script(
        self,
        script: str,
        *arguments: str,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> CommandResult:
        """Run the text of a shell script; `arguments` become ``$1``, ``$2``, ... and need no quoting."""
        argv = ["/bin/sh", "-c", script, "jfr-mp", *arguments]
        return self.run(argv, cwd=cwd, timeout=timeout, idempotent=idempotent)

    @abstractmethod
    def mkdir(self, path: HostPath) -> None:
        """Make a directory and its parents, unless they exist."""

    @abstractmethod
    def write(self, path: HostPath, content: bytes, *, progress: Progress | None = None) -> None:
        """Write a file, which appears complete or not at all."""

    def deliver(
        self,
        path: HostPath,
        content: bytes,
        *,
        instead_of: Collection[str] = (),
        progress: Progress | None = None,
    ) -> None:
        """Make the directory of a file, remove the files of these names from it, and write the file.

        Hosts that are reached over a network do it in one round trip if they can.
        """
        directory = PurePosixPath(path).parent
        self.mkdir(directory)
        for name in instead_of:
            self.remove(directory / name)
        self.write(path, content, progress=progress)

    @abstractmethod
    def put(self, source: Path, path: HostPath, *, progress: Progress | None = None) -> None:
        """Copy a file of this machine to the host, where it appears complete or not at all."""

    @abstractmethod
    def get(self, path: HostPath, target: Path, *, limit: int | None = None, progress: Progress | None = None) -> None:
        """Copy a regular file of the host to this machine, where it appears complete or not at all.

        Neither this nor the other methods that read follow a link; a file with more bytes than `limit` is an error.
        """

    def fetch(
        self,
        directory: HostPath,
        names: Mapping[str, int],
        into: Path,
        *,
        excerpts: Collection[str] = (),
        progress: Progress | None = None,
    ) -> list[str]:
        """Copy files of a directory of the host into one of this machine, which is made if need be.

        Hosts that are reached over a network bring all the small ones in one round trip if they can.

        Parameters
        ----------
        names
            The files, each with its maximum size in bytes. A larger file, or one that is not regular, is an error.
        excerpts
            Those of the files of which the beginning and the end are enough if they are large.

        Returns
        -------
        list of str
            The names of files that do not exist on the host; they are removed from this machine.
        """
        into.mkdir(parents=True, exist_ok=True)
        missing = []
        for name in names:
            path = PurePosixPath(directory, name)
            size = self.size(path)
            if size is None:
                (into / name).unlink(missing_ok=True)
                missing.append(name)
            elif name in excerpts and size > EXCERPT:
                write_atomically(into / name, self.read_ends(path, size))
            else:
                self.get(path, into / name, limit=names[name], progress=progress)
        return missing

    def read_ends(self, path: HostPath, size: int) -> bytes:
        """Return the beginning and the end of a large file of so many bytes."""
        half = EXCERPT // 2
        return self.read_from(path, 0, limit=half) + self.read_from(path, size - half, limit=half)

    @abstractmethod
    def read(self, path: HostPath, *, limit: int | None = None) -> bytes:
        """Return the content of a regular file; one with more bytes than `limit` is an error."""

    @abstractmethod
    def read_from(self, path: HostPath, offset: int, *, limit: int | None = None) -> bytes:
        """Return at most `limit` bytes of a regular file after its first `offset` bytes."""

    def read_on(self, path: HostPath, offset: int, *, limit: int) -> tuple[int, bytes]:
        """Return the size of a growing file, 0 if there is none, and at most `limit` bytes after the first `offset`.

        Hosts that are reached over a network need one round trip if there is nothing new.
        """
        size = self.size(path) or 0
        return size, self.read_from(path, offset, limit=limit) if size > offset else b""

    @abstractmethod
    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes, or None if there is no such file."""

    @abstractmethod
    def exists(self, path: HostPath) -> bool:
        """Whether there is such a file or directory."""

    @abstractmethod
    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file within its file system, over an existing one."""

    @abstractmethod
    def remove(self, path: HostPath) -> None:
        """Remove a file, if there is one."""

    @abstractmethod
    def remove_tree(self, path: HostPath) -> None:
        """Remove a directory with everything in it, if there is one."""
