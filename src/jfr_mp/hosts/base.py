"""What a host offers. `tests/contract/test_hosts.py` is the suite that every implementation must pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

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
    def get(self, path: HostPath, target: Path, *, progress: Progress | None = None) -> None:
        """Copy a file of the host to this machine, where it appears complete or not at all."""

    def fetch(
        self, directory: HostPath, names: Collection[str], into: Path, *, progress: Progress | None = None
    ) -> list[str]:
        """Copy files of a directory of the host into one of this machine, which is made if need be.

        Hosts that are reached over a network bring all the small ones in one round trip if they can.

        Returns
        -------
        list of str
            The names of files that do not exist on the host; they are removed from this machine.
        """
        into.mkdir(parents=True, exist_ok=True)
        missing = []
        for name in names:
            path = PurePosixPath(directory, name)
            if self.exists(path):
                self.get(path, into / name, progress=progress)
            else:
                (into / name).unlink(missing_ok=True)
                missing.append(name)
        return missing

    @abstractmethod
    def read(self, path: HostPath) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def read_from(self, path: HostPath, offset: int) -> bytes:
        """Return the content of a file after its first `offset` bytes."""

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
