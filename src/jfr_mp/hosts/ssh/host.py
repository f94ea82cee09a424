"""Hosts that are reached by SSH: commands over one link, files over the same or another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from jfr_mp.config.workers import ConnectionData, SeparatedTransferWorker, SshWorker
from jfr_mp.errors import HostError, LoginNeeded
from jfr_mp.hosts.base import BaseHost, CommandResult, HostPath, Progress
from jfr_mp.hosts.faults import is_permanent_text, reason_in
from jfr_mp.hosts.login.client import BrokeredConnection
from jfr_mp.hosts.login.sharing import broker_socket
from jfr_mp.hosts.ssh.config import Endpoint, SshConfig
from jfr_mp.hosts.ssh.connection import Connection, connect
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS
from jfr_mp.hosts.ssh.session_pool import Link
from jfr_mp.hosts.ssh.sftp import RemoteFiles
from jfr_mp.hosts.ssh.shell import RemoteShell, ShellOptions
from jfr_mp.jobdata.files import write_atomically

#: Bytes up to which a file goes along with a command instead of by SFTP.
_SMALL = 2**18

#: Makes a directory ($1), writes a file ($2) of so many bytes ($3) there and removes others, in one go.
_DELIVER = r"""
mkdir -p -- "$1" && cd -- "$1" || exit
name=$2 size=$3 part=.$2.part
shift 3
rm -f -- "$part" "$@" || exit
cat > "$part" || { rm -f -- "$part"; exit 1; }
arrived=$(($(wc -c < "$part")))
test $arrived -eq $size || { rm -f -- "$part"; echo "jfr-mp: $arrived of $size bytes arrived" >&2; exit 1; }
exec mv -f -- "$part" "$name"
"""

#: Prints files ($3, ...) of a directory ($1): for each its size, or "-" where there is none, and, if it has at most so
#: many bytes ($2), its content and a full stop.
_FETCH = r"""
cd -- "$1" 2>/dev/null || { shift 2; for name; do echo -; done; exit; }
limit=$2
shift 2
for name; do
    if ! test -e "$name"; then echo -; continue; fi
    size=$(($(wc -c < "$name")))
    echo $size
    test $size -gt $limit || { head -c $size < "$name"; echo .; }
done
"""

#: ``rm -f`` would pass over a path that lies below a file.
_REMOVE_TREE = r"""
said=$(ls -d -- "$1" 2>&1 >/dev/null) || case $said in
    *"No such file or directory") exit 0 ;;
    *) printf '%s\n' "$said" >&2; exit 1 ;;
esac
exec rm -rf -- "$1"
"""

#: Writes as much beside a file ($1) as shows why nothing can be written there.
_TRY_TO_WRITE = r"""
test ! -d "$1" || { echo "$1: Is a directory" >&2; exit 1; }
head -c 65536 /dev/zero > "$1.try"
status=$?
rm -f -- "$1.try"
exit $status
"""

#: The links of a process, each with what makes it different from others: the endpoint, and whether a person logs in.
Links = list[tuple[tuple[Endpoint, bool], Link]]


class SshHost(BaseHost):
    """A host that is reached by SSH.

    Parameters
    ----------
    name
        How messages call it.
    commands
        The link for commands.
    options
        How the host wants its commands.
    files
        The link for files, where that is another host that sees the same file system; None for the first link.
    """

    def __init__(self, name: str, commands: Link, options: ShellOptions, files: Link | None = None) -> None:
        self.name = name
        self._links = [commands] if files is None else [commands, files]
        self._shell = RemoteShell(commands, options)
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
        """Run a command; by default it may take the worker's `timeout_execute`."""
        text = stdin.encode() if stdin is not None else None
        output = self._shell.execute(argv, cwd=cwd, timeout=timeout, stdin=text, idempotent=idempotent)
        return CommandResult(
            output.stdout.decode(errors="replace"), output.stderr.decode(errors="replace"), output.returncode
        )

    def mkdir(self, path: HostPath) -> None:
        """Make a directory and those above it."""
        self._script("make the directory", path, 'exec mkdir -p -- "$1"', str(path))

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
            arguments = (str(where.parent), where.name, str(len(content)), *instead_of)
            self._script("write", path, _DELIVER, *arguments, stdin=content)

    def put(self, source: Path, path: HostPath, *, progress: Progress | None = None) -> None:
        """Copy a file of this machine to the host."""
        self._files.put(source, path, progress)

    def get(self, path: HostPath, target: Path, *, progress: Progress | None = None) -> None:
        """Copy a file of the host to this machine."""
        self._files.get(path, target, progress)

    def fetch(
        self, directory: HostPath, names: Collection[str], into: Path, *, progress: Progress | None = None
    ) -> list[str]:
        """Copy files of a directory to this machine, the small ones in one round trip."""
        if self._separated:
            return super().fetch(directory, names, into, progress=progress)
        printed = self._script("read", directory, _FETCH, str(directory), str(_SMALL), *names)
        into.mkdir(parents=True, exist_ok=True)
        missing = []
        for name in names:
            heading, _, printed = printed.partition(b"\n")
            size = int(heading) if heading.isdigit() else None
            if heading == b"-":
                (into / name).unlink(missing_ok=True)
                missing.append(name)
            elif size is not None and size <= _SMALL and printed[size : size + 2] == b".\n":
                write_atomically(into / name, printed[:size])
                printed = printed[size + 2 :]
            elif size is not None and size > _SMALL:
                self.get(PurePosixPath(directory, name), into / name, progress=progress)
            else:
                # A file that could not be read, or changed meanwhile; what follows in the answer is of no use.
                return [*missing, *super().fetch(directory, [*names][[*names].index(name) :], into, progress=progress)]
        return missing

    def read(self, path: HostPath) -> bytes:
        """Return the content of a file."""
        return self._files.read(path)

    def read_from(self, path: HostPath, offset: int) -> bytes:
        """Return the rest of a file."""
        return self._files.read(path, offset)

    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes."""
        return self._files.size(path)

    def exists(self, path: HostPath) -> bool:
        """Tell whether there is such a path."""
        return self._files.size(path) is not None

    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file."""
        self._files.rename(path, new_path)

    def remove(self, path: HostPath) -> None:
        """Remove a file."""
        self._files.remove(path)

    def remove_tree(self, path: HostPath) -> None:
        """Remove a directory with all it holds."""
        self._script("remove", path, _REMOVE_TREE, str(path))

    def _script(self, what: str, path: HostPath, script: str, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run a script of ours, which may run twice, and return what it printed."""
        argv = ["/usr/bin/env", "LC_ALL=C", "/bin/sh", "-c", script, "jfr-mp", *arguments]
        output = self._shell.execute(argv, stdin=stdin, idempotent=True, plain=True)
        if output.returncode != 0:
            reason = reason_in(output.stderr.decode(errors="replace")) or f"exit code {output.returncode}"
            raise HostError(f"{self.name}: cannot {what} {path}: {reason}", permanent=is_permanent_text(reason))
        return output.stdout

    def _why_not_written(self, path: str) -> str:
        """Find out why a file cannot be written; empty where it now could."""
        try:
            self._script("write", path, _TRY_TO_WRITE, path)
        except HostError as error:
            return reason_in(str(error))
        return ""


def ssh_host(worker: SshWorker, base_dir: Path | None, links: Links | None = None) -> SshHost:
    """Return the host of a worker, not connected.

    Parameters
    ----------
    worker
        The worker; one with a `transfer` host has a second link for files.
    base_dir
        The project's directory; None to refuse new hosts, and those where a person has to log in.
    links
        Those of other workers: one that goes the same way is shared, a new one is added.

    Raises
    ------
    ConfigError
        ``~/.ssh/config`` cannot be read or is not valid.
    """
    known = [] if links is None else links

    def link(host: str, endpoint: Endpoint) -> Link:
        way = (endpoint, worker.interactive_login)
        for known_way, shared in known:
            if known_way == way:
                shared.patience = max(shared.patience, worker.timeout_execute)
                return shared
        if worker.interactive_login:
            opener: Callable[[], Connection] = partial(_brokered, worker.host, endpoint, base_dir)
        else:
            opener = partial(connect, endpoint, base_dir and base_dir / KNOWN_HOSTS)
        made = Link(host, opener, worker.timeout_execute)
        known.append((way, made))
        return made

    ways = endpoints(worker)
    environment = ways[0][1].environment
    options = ShellOptions(
        worker.shell_cmd, worker.login_shell, environment, bool(worker.inline_ssh_env), worker.timeout_execute
    )
    return SshHost(worker.host, link(*ways[0]), options, link(*ways[1]) if len(ways) > 1 else None)


def endpoints(worker: SshWorker) -> list[tuple[str, Endpoint]]:
    """Return where the connections of a worker go, each with the name that the project file has for it.

    The first is for commands; if there is a second, it is for files.

    Raises
    ------
    ConfigError
        ``~/.ssh/config`` cannot be read or is not valid.
    """
    config = SshConfig()
    given = {
        "timeout": worker.connect_timeout,
        "keepalive": worker.keepalive or 0,
        "forward_agent": worker.forward_agent,
    }
    shared = {field: value for field, value in given.items() if value is not None}
    transfer = _transfer_host(worker)
    return [(data.host, config.endpoint(data, **shared)) for data in (worker, transfer) if data is not None]


def _brokered(name: str, endpoint: Endpoint, base_dir: Path | None) -> Connection:
    """Return the connection of somebody who has logged in."""
    if base_dir is None:
        raise LoginNeeded(f"{name}: only processes of a project can use an interactive login")
    return BrokeredConnection(name, broker_socket(endpoint, base_dir))


def _transfer_host(worker: SshWorker) -> ConnectionData | None:
    """Return the host that takes the files; what it leaves out is as for the first one."""
    if not isinstance(worker, SeparatedTransferWorker):
        return None
    transfer = worker.transfer
    inherited: dict[str, Any] = {"user": transfer.user or worker.user, "port": transfer.port or worker.port}
    secrets = ("password", "key_filename", "passphrase", "connect_kwargs")
    if not any(getattr(transfer, field) for field in secrets):
        inherited.update((field, getattr(worker, field)) for field in secrets)
    return transfer.model_copy(update=inherited)
