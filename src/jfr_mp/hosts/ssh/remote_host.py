"""A host that is reached by SSH: commands over one link, files over the same or another one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from jfr_mp.errors import HostError
from jfr_mp.hosts.base import BaseHost, CommandResult, HostPath, Progress
from jfr_mp.hosts.file_errors import is_permanent_text, reason_in
from jfr_mp.hosts.ssh.host_scripts import DELIVER, FETCH, REMOVE_TREE, TRY_TO_WRITE
from jfr_mp.hosts.ssh.interface import Output
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.remote_commands import RemoteCommands, ShellOptions
from jfr_mp.hosts.ssh.remote_files import RemoteFiles
from jfr_mp.hosts.ssh.shared_shell import SharedCommand, SharedShell
from jfr_mp.jobdata.files import write_atomically

#: Bytes up to which a file goes along with a command instead of by SFTP.
_SMALL = 2**17


class SshHost(BaseHost):
    """A host that is reached by SSH.

    Parameters
    ----------
    name
        The name of the host in messages.
    commands
        The link for commands.
    options
        How the host wants its commands.
    files
        The link for files, if they go through another host with the same file system; None for the first link.
    """

    def __init__(self, name: str, commands: Link, options: ShellOptions, files: Link | None = None) -> None:
        self.name = name
        self._links = [commands] if files is None else [commands, files]
        self._commands = RemoteCommands(commands, options)
        self._shared = SharedShell(self._commands, idempotent=False, plain=False)
        self._shared_scripts = SharedShell(self._commands, idempotent=True, plain=True)
        self._files = RemoteFiles(files or commands, self._why_not_written)
        self._separated = files is not None

    def connect(self) -> None:
        """Connect and log in; HostUnreachable says why that is not possible now."""
        for link in self._links:
            link.connect()

    def close(self) -> None:
        """Close the connection."""
        for link in self._links:
            link.close()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return all(link.is_connected for link in self._links)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
        idempotent: bool = False,
    ) -> CommandResult:
        """Run a command; the default of `timeout` is the worker's `timeout_execute`."""
        text = stdin.encode() if stdin is not None else None
        return _result(self._commands.execute(argv, cwd=cwd, timeout=timeout, stdin=text, idempotent=idempotent))

    def run_together(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
    ) -> CommandResult:
        """Run a command, perhaps in one shell with those of other threads."""
        return _result(self._shared.execute(SharedCommand(argv, cwd, timeout, (stdin or "").encode())))

    def mkdir(self, path: HostPath) -> None:
        """Make a directory and those above it."""
        self._script("make the directory", path, 'exec mkdir -p -m "$2" -- "$1"', str(path), self._mode)

    @property
    def _mode(self) -> str:
        return f"{self.directory_mode:o}"

    def write(self, path: HostPath, content: bytes, *, progress: Progress | None = None) -> None:
        """Write a file."""
        self._files.write(path, content, progress)

    def deliver(
        self,
        path: HostPath,
        content: bytes,
        *,
        instead_of: Collection[str] = (),
        progress: Progress | None = None,
    ) -> None:
        """Make a directory and write a file there, in one round trip if it is small."""
        where = PurePosixPath(path)
        if self._separated or len(content) > _SMALL:
            super().deliver(path, content, instead_of=instead_of, progress=progress)
        else:
            arguments = (str(where.parent), where.name, str(len(content)), self._mode, *instead_of)
            self._script("write", path, DELIVER, *arguments, stdin=content, together=True)

    def put(self, source: Path, path: HostPath, *, progress: Progress | None = None) -> None:
        """Copy a file of this machine to the host."""
        self._files.put(source, path, progress)

    def get(self, path: HostPath, target: Path, *, limit: int | None = None, progress: Progress | None = None) -> None:
        """Copy a file of the host to this machine."""
        self._files.get(path, target, limit, progress)

    def fetch(
        self,
        directory: HostPath,
        names: Mapping[str, int],
        into: Path,
        *,
        excerpts: Collection[str] = (),
        progress: Progress | None = None,
    ) -> list[str]:
        """Copy files of a directory to this machine, the small ones in one round trip."""
        if self._separated:
            return super().fetch(directory, names, into, excerpts=excerpts, progress=progress)
        printed = self._script("read", directory, FETCH, str(directory), str(_SMALL), *names, together=True)
        into.mkdir(parents=True, exist_ok=True)
        missing = []
        for name in names:
            heading, _, printed = printed.partition(b"\n")
            size = int(heading) if heading.isdigit() else None
            if heading == b"-":
                (into / name).unlink(missing_ok=True)
                missing.append(name)
            elif heading == b"!":
                reason = "it is a link, a directory or another special file and not a regular file, so it is not read"
                raise HostError(f"{self.name}: cannot read {PurePosixPath(directory, name)}: {reason}", permanent=True)
            elif size is not None and size <= _SMALL and printed[size : size + 2] == b".\n":
                write_atomically(into / name, printed[:size])
                printed = printed[size + 2 :]
            elif size is not None and size > _SMALL:
                super().fetch(directory, {name: names[name]}, into, excerpts=excerpts, progress=progress)
            else:
                # The file could not be read, or changed meanwhile; the rest of the answer is of no use.
                rest = dict([*names.items()][[*names].index(name) :])
                return [*missing, *super().fetch(directory, rest, into, excerpts=excerpts, progress=progress)]
        return missing

    def read(self, path: HostPath, *, limit: int | None = None) -> bytes:
        """Return the content of a file."""
        return self._files.read(path, limit)

    def read_from(self, path: HostPath, offset: int, *, limit: int | None = None) -> bytes:
        """Return a part of a file."""
        return self._files.read_from(path, offset, limit)

    def read_on(self, path: HostPath, offset: int, *, limit: int) -> tuple[int, bytes]:
        """Return the size of a growing file and a part of it."""
        return self._files.read_on(path, offset, limit)

    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes."""
        return self._files.size(path)

    def exists(self, path: HostPath) -> bool:
        """Whether there is such a path."""
        return self._files.size(path) is not None

    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file."""
        self._files.rename(path, new_path)

    def remove(self, path: HostPath) -> None:
        """Remove a file."""
        self._files.remove(path)

    def remove_tree(self, path: HostPath) -> None:
        """Remove a directory with all it holds."""
        self._script("remove", path, REMOVE_TREE, str(path))

    def _script(
        self, what: str, path: HostPath, script: str, *arguments: str, stdin: bytes = b"", together: bool = False
    ) -> bytes:
        """Run one of `host_scripts`, twice if need be, and return what it printed.

        A script that takes little time may go together with others.
        """
        argv = ["/usr/bin/env", "LC_ALL=C", "/bin/sh", "-c", script, "jfr-mp", *arguments]
        if together:
            output = self._shared_scripts.execute(SharedCommand(argv, stdin=stdin))
        else:
            output = self._commands.execute(argv, stdin=stdin, idempotent=True, plain=True)
        if output.returncode != 0:
            reason = reason_in(output.stderr.decode(errors="replace")) or f"exit code {output.returncode}"
            raise HostError(f"{self.name}: cannot {what} {path}: {reason}", permanent=is_permanent_text(reason))
        return output.stdout

    def _why_not_written(self, path: str) -> str:
        """Find out why a file cannot be written; empty if it can be written now."""
        try:
            self._script("write", path, TRY_TO_WRITE, path)
        except HostError as error:
            return reason_in(str(error))
        return ""


def _result(output: Output) -> CommandResult:
    stdout, stderr = (printed.decode(errors="replace") for printed in (output.stdout, output.stderr))
    return CommandResult(stdout, stderr, output.returncode)
