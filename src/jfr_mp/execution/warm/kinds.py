"""Which jobs one warm server can serve: those of one kind.

Like all modules that the client imports, this one imports built-in modules alone, so that the client starts at once.
"""

from __future__ import annotations

import os
import resource

from jfr_mp.execution.warm.wire import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Changes with the wire format, so that a client never meets a server that it does not understand.
PROTOCOL = b"1"

#: The environment variables that differ between two jobs of one kind and that no import looks at.
VOLATILE = frozenset(
    {
        *("_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "WINDOWID", "TMUX", "TMUX_PANE", "STY"),
        *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "TERM_SESSION_ID", "XDG_SESSION_ID"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "JFR_MP_FAULTS", "JFR_MP_SUBMISSION"),
    }
)
#: What a server must share with its clients, because a fork cannot change it: namespaces, and hard limits.
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
LIMITS = (
    *("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC", "RSS", "RTPRIO"),
    *("RTTIME", "SIGPENDING", "STACK"),
)


def interpreter(path: str, fallback: str) -> str:
    """Return the Python of the first ``jfr-mp`` on a PATH, which is what the user's environment runs jobs with."""
    for directory in path.split(":"):
        program = f"{directory or '.'}/jfr-mp"
        if os.access(program, os.X_OK) and not os.path.isdir(program):
            found = _shebang(_head(program))
            return found if found and os.access(found, os.X_OK) else fallback
    return fallback


def _head(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _shebang(head: bytes) -> str | None:
    """Return the interpreter that a script names, also in the second line that pip writes for a long path."""
    first, _, rest = head.partition(b"\n")
    words = os.fsdecode(first.removeprefix(b"#!")).split() if first.startswith(b"#!") else []
    if words and words[0].endswith("/sh") and rest.startswith(b"'''exec' "):
        words = [os.fsdecode(rest.split(b" ", 1)[1]).lstrip().removeprefix('"').split('"')[0].split(" /")[0]]
        words = words if words[0].count(" ") == 0 or os.access(words[0], os.X_OK) else words[0].split()
    return words[0] if words and "python" in words[0].rpartition("/")[2] else None


def kind_of(python: str, environ: Mapping[str, str]) -> bytes:
    """Return what a server must share with a client to serve it, as bytes to be compared."""
    environment = sorted(f"{name}={value}" for name, value in environ.items() if name not in VOLATILE)
    identity = [os.getresuid(), os.getresgid(), sorted(os.getgroups()), os.nice(0)]
    hard_limits = [resource.getrlimit(limit)[1] for limit in limits()]
    texts = [python, os.path.realpath(python), str(os.stat(python).st_mtime_ns), repr(identity), repr(hard_limits)]
    texts += [*map(_namespace, NAMESPACES), os.fsdecode(_head("/proc/self/cgroup")), *environment]
    return pack([PROTOCOL, *map(os.fsencode, texts)])


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:
        return ""


def limits() -> list[int]:
    """Return the numbers of the resource limits that this system has."""
    names = (f"RLIMIT_{name}" for name in LIMITS)
    return [getattr(resource, name) for name in names if hasattr(resource, name)]


def socket_path(directory: str, kind: bytes) -> str:
    """Return where the server of a kind listens; beside it are its lock, its log and the mark that it starts cold."""
    from _blake2 import blake2b

    return f"{directory}/{blake2b(kind, digest_size=6).hexdigest()}"
