"""The machine that this process runs on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from jfr_mp.errors import CommandTimeout, HostError
from jfr_mp.hosts.base import BaseHost, CommandResult, HostPath, Progress
from jfr_mp.hosts.file_errors import is_permanent
from jfr_mp.jobdata.files import replacing, write_atomically
from jfr_mp.jobdata.untrusted import open_untrusted, read_part, read_untrusted

#: The exit code of a shell if there is no such command.
_NO_SUCH_COMMAND = 127
_BLOCK = 2**20


class LocalHost(BaseHost):
    """Commands and files of this machine, as this user.

    Parameters
    ----------
    environment
        The environment of commands; None for that of this process.
    """

    name = "this machine"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of commands."""
        return os.environ if self._environment is None else self._environment

    def connect(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    @property
    def is_connected(self) -> bool:
        """Always."""
        return True

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
        idempotent: bool = False,  # there is no connection that could break
    ) -> CommandResult:
        """Run a command in a session of its own, so that Ctrl-C on this terminal does not reach it."""
        if cwd is not None and not Path(cwd).is_dir():
            raise HostError(f"{self.name}: cannot run {argv[0]} in {cwd}: there is no such directory")
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            return CommandResult("", f"{argv[0]}: command not found", _NO_SUCH_COMMAND)
        except (OSError, ValueError) as error:
            raise HostError(f"{self.name}: cannot run {argv[0]}: {error}") from error
        with process:
            try:
                stdout, stderr = process.communicate(stdin, timeout)
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise CommandTimeout(f"{self.name}: {argv[0]} did not end within {timeout:g} s") from None
                raise
        return CommandResult(stdout, stderr, process.returncode)

    def mkdir(self, path: HostPath) -> None:
        """Make a directory and its parents."""
        with self._doing("make the directory", path):
            directory = Path(path)
            directory.parent.mkdir(parents=True, exist_ok=True)
            try:
                directory.mkdir(mode=self.directory_mode)
            except FileExistsError:
                if not directory.is_dir():
                    raise
            else:
                # Whatever the umask of this process.
                directory.chmod(self.directory_mode)

    def write(self, path: HostPath, content: bytes, *, progress: Progress | None = None) -> None:
        """Write a file."""
        with self._doing("write", path):
            write_atomically(Path(path), content)
        if progress is not None:
            progress(len(content), len(content))

    def put(self, source: Path, path: HostPath, *, progress: Progress | None = None) -> None:
        """Copy a file."""
        with self._doing("write", path), replacing(Path(path)) as temporary:
            shutil.copyfile(source, temporary)
            _report(temporary, progress)

    def get(self, path: HostPath, target: Path, *, limit: int | None = None, progress: Progress | None = None) -> None:
        """Copy a regular file."""
        with self._doing("copy", path), open_untrusted(path, limit) as source, replacing(target) as temporary:
            with temporary.open("xb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
            _report(temporary, progress)

    def read(self, path: HostPath, *, limit: int | None = None) -> bytes:
        """Return the content of a regular file."""
        with self._doing("read", path):
            return read_untrusted(path, limit)

    def read_from(self, path: HostPath, offset: int, *, limit: int | None = None) -> bytes:
        """Return a part of a regular file."""
        with self._doing("read", path):
            return read_part(path, offset, limit)

    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes."""
        with self._doing("look at", path):
            try:
                return Path(path).stat().st_size
            except FileNotFoundError:
                return None

    def exists(self, path: HostPath) -> bool:
        """Whether there is such a path."""
        with self._doing("look at", path):
            return Path(path).exists()

    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file."""
        with self._doing("rename", path):
            Path(path).replace(new_path)

    def remove(self, path: HostPath) -> None:
        """Remove a file."""
        with self._doing("remove", path):
            Path(path).unlink(missing_ok=True)

    def remove_tree(self, path: HostPath) -> None:
        """Remove a directory with everything in it."""
        with self._doing("remove", path), suppress(FileNotFoundError):
            shutil.rmtree(path)

    @contextmanager
    def _doing(self, what: str, path: HostPath) -> Iterator[None]:
        """Turn an error of the operating system into one line that names the path."""
        try:
            yield
        except OSError as error:
            raise HostError(
                f"{self.name}: cannot {what} {path}: {error.strerror or error}", permanent=is_permanent(error)
            ) from error


def _report(target: Path, progress: Progress | None) -> None:
    if progress is not None:
        size = target.stat().st_size
        progress(size, size)
