"""What a host can do. `tests/contract/test_hosts.py` is what an implementation has to pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

#: A path on a host. Text is best: a `Path` follows the rules of the machine that made it.
HostPath = str | PurePath


@dataclass(frozen=True)
class CommandResult:
    """What a command printed and how it ended.

    Parameters
    ----------
    stdout, stderr
        Bytes that are no UTF-8 are replaced.
    returncode
        0 is success; 127 that there is no such command; negative the signal that killed it.
    """

    stdout: str
    stderr: str
    returncode: int


class BaseHost(ABC):
    """A machine with a shell and files.

    Every method raises `jfr_mp.errors.HostError` with one line that names the host, the thing and the reason; it is
    marked permanent where repeating cannot help.
    """

    #: How messages call this host.
    name: str

    @abstractmethod
    def connect(self) -> None:
        """Connect; does nothing where that is done or not needed."""

    @abstractmethod
    def close(self) -> None:
        """Give up the connection."""

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
    ) -> CommandResult:
        """Run a command to its end; it is never run twice, whatever happens.

        Parameters
        ----------
        argv
            The command and its arguments, taken literally: no shell looks at them.
        cwd
            The working directory.
        timeout
            Seconds after which the command is killed and CommandTimeout raised.
        stdin
            Text for its standard input.
        """

    def run_script(
        self, script: str, *arguments: str, cwd: HostPath | None = None, timeout: float | None = None
    ) -> CommandResult:
        """Run the text of a shell script; `arguments` become ``$1``, ``$2``, ... and need no quoting."""
        return self.run(["/bin/sh", "-c", script, "jfr-mp", *arguments], cwd=cwd, timeout=timeout)

    @abstractmethod
    def mkdir(self, path: HostPath) -> None:
        """Make a directory and those above it; one that exists is fine."""

    @abstractmethod
    def write(self, path: HostPath, content: bytes) -> None:
        """Write a file that appears whole or not at all."""

    @abstractmethod
    def read(self, path: HostPath) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def read_from(self, path: HostPath, offset: int) -> bytes:
        """Return what a file holds behind its first `offset` bytes."""

    @abstractmethod
    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes, or None where there is none."""

    @abstractmethod
    def exists(self, path: HostPath) -> bool:
        """Tell whether there is such a file or directory."""

    @abstractmethod
    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file within its file system, over an existing one."""

    @abstractmethod
    def remove(self, path: HostPath) -> None:
        """Remove a file; that there is none is fine."""

    @abstractmethod
    def remove_tree(self, path: HostPath) -> None:
        """Remove a directory with all it holds; that there is none is fine."""
