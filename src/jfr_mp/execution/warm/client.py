"""The client of a warm server, which the script of a job starts instead of the worker command; see `start.py`.

It must start within milliseconds. Hence it imports built-in modules and two of its own alone.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half of `signal`, which imports `enum`
import _socket
import fcntl
import os
import resource
import select
import sys
import time

from jfr_mp.execution.warm.kinds import interpreter, kind_of, limits, socket_path
from jfr_mp.execution.warm.wire import MOST_FILES, pack, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

#: Seconds that a client waits for a server that is being started, and for the answer of one that runs.
START_TIMEOUT, ANSWER_TIMEOUT = 60.0, 10.0
#: Times that one client starts a server which ends before it listens.
MOST_STARTS = 2
#: Seconds between two looks for a server that is being started, and until jobs are served again that had to start cold.
GLANCE, COLD_FOR = 0.01, 300.0
#: The bits of a mode that matter: the type, and what other users may; and what they must be.
_PRIVACY, _PRIVATE_DIRECTORY = 0o170077, 0o040000
#: The signals that the client passes on to the job.
FORWARDED = tuple(
    getattr(_signal, f"SIG{name}")
    for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "TSTP", "WINCH")
    if hasattr(_signal, f"SIG{name}")
)
#: The exit code of a job if its end is not known, as a shell reports SIGKILL.
UNKNOWN_END = 137


class NoServer(Exception):
    """The job has to start cold."""


def main(argv: list[str]) -> NoReturn:
    """Run a job warm, or become the worker command."""
    directory, fallback, *command = argv
    directory = os.environ.get("JFR_MP_WARM_DIR", directory)
    if command[0] == "execution":
        # As in ``jfr-mp execution run``, for which a batch puts this program on the PATH.
        del command[0]
    python = interpreter(os.environ.get("PATH", ""), fallback)
    try:
        sys.exit(run(directory, python, command))
    except (NoServer, OSError) as reason:
        if os.environ.get("JFR_MP_WARM_DEBUG"):
            os.write(2, f"jfr-mp: cold start: {reason}\n".encode())
    os.execv(python, [python, "-P", "-m", "jfr_mp.execution", *command])


# The server


def connect(directory: str, python: str, kind: bytes) -> _socket.socket:
    """Connect to the server of a kind, and start it if there is none.

    Raises
    ------
    NoServer
        There is none and none could be started.
    """
    if directory == "-":
        raise NoServer("warm execution is switched off")
    check_private(directory)
    path = socket_path(directory, kind)
    started, deadline = 0, time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if is_cold(path):
            raise NoServer(f"jobs of this kind start cold: see {path}.log")
        if connection := connected(path):
            return connection
        if start(path, python):
            started += 1
            if started > MOST_STARTS:
                # The others need not find out for themselves.
                os.close(os.open(f"{path}.cold", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
                raise NoServer(f"the server does not start: see {path}.log")
        time.sleep(GLANCE)
    raise NoServer("the server did not start in time")


def check_private(directory: str) -> None:
    """Make the directory of the sockets, or raise `NoServer` if other users can enter it."""
    os.makedirs(directory, 0o700, exist_ok=True)
    status = os.lstat(directory)
    if status.st_uid != os.getuid() or status.st_mode & _PRIVACY != _PRIVATE_DIRECTORY:
        raise NoServer(f"{directory} is no private directory of this user")


def is_cold(path: str) -> bool:
    """Return whether the server of a path has found out that it cannot serve."""
    try:
        return time.time() - os.stat(f"{path}.cold").st_mtime < COLD_FOR
    except OSError:
        return False


def connected(path: str) -> _socket.socket | None:
    """Return a connection to the server of a path, or None if there is none."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def start(path: str, python: str) -> bool:
    """Start the server of a path, unless another client is about to; return whether this one did."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    # It may have begun to listen since this client looked.
    connection = connected(path)
    if connection is not None:
        connection.close()
    elif (pid := os.fork()) == 0:
        _become_server(path, python, lock)
    else:
        os.waitpid(pid, 0)
    os.close(lock)
    return connection is None


def _become_server(path: str, python: str, lock: int) -> None:
    """Execute the server in a session of its own, without the files of the job; it keeps the lock until it listens."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        lock = os.dup(lock)
        for number, descriptor in ((0, nothing), (1, log), (2, log), (3, lock)):
            os.dup2(descriptor, number)
        os.closerange(4, 1024)
        for number in FORWARDED:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        os.umask(0o077)
        os.chdir("/")
        # The server outlives the job, and is not ended with it; see `jfr_mp.schedulers.leftovers`.
        os.environ.pop("JFR_MP_SUBMISSION", None)
        os.execv(python, [python, "-P", "-m", "jfr_mp.execution.warm.server", path, python])
    finally:
        os._exit(127)


# The job


def run(directory: str, python: str, command: list[str]) -> int:
    """Let a server run a job and return its exit code, or die of the signal that it died of.

    Raises
    ------
    NoServer, OSError
        The job was not started.
    """
    kind = kind_of(python, os.environ)
    connection = connect(directory, python, kind)
    wakes, heard = _hear()
    life, held = os.pipe()
    begins, begin = os.pipe()
    # Nothing is ever written to this one: it ends with this process.
    watched, _ = os.pipe()
    numbers = inherited()
    if len(numbers) + 3 > MOST_FILES:
        raise NoServer("too many open files")
    mask = os.umask(0)
    os.umask(mask)
    fields = request(kind, command, numbers, environment=os.environ, directory=os.getcwd(), umask=mask)
    send(connection, fields, [held, begins, watched, *numbers])
    for descriptor in (held, begins, watched):
        os.close(descriptor)
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    answer, value = _fields(connection) if poll.poll(ANSWER_TIMEOUT * 1000) else (b"", b"the server did not answer")
    if answer != b"pid":
        # A child that is there after all does not begin: the pipe ends without a byte when this process goes on.
        raise NoServer(os.fsdecode(value or b"the server closed the connection"))
    os.write(begin, b"!")
    return _wait(connection, life, int(value), wakes, heard)


def request(
    kind: bytes,
    command: Sequence[str],
    numbers: Sequence[int],
    *,
    environment: Mapping[str, str],
    directory: str,
    **further: object,
) -> list[bytes]:
    """Return the fields that describe the process that the child becomes.

    Parameters
    ----------
    command
        The arguments of the worker command.
    numbers
        The files that come with the request.
    environment, directory
        Its environment and its working directory.
    **further
        Its `umask`, and its `submission` if it has no script. All else is as in this process.
    """
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    ignored = [number for number in range(1, _signal.NSIG) if _disposition(number) == _signal.SIG_IGN]
    if further.get("submission"):
        # As for what a shell runs in the background.
        ignored += [_signal.SIGINT, _signal.SIGQUIT]
    values = {
        "submission": None,
        "reap": bool(environment.get("JFR_MP_REAP")),
        "affinity": sorted(os.sched_getaffinity(0)),
        "soft_limits": [resource.getrlimit(limit)[0] for limit in limits()],
        "blocked": sorted(int(number) for number in mask if number not in FORWARDED),
        "ignored": [number for number in ignored if number not in (_signal.SIGPIPE, _signal.SIGXFSZ)],
        "files": list(numbers),
        **further,
    }
    variables = (f"{name}={value}" for name, value in environment.items())
    lists = [pack(map(os.fsencode, texts)) for texts in (command, variables)]
    return [kind, os.fsencode(directory), repr(values).encode(), *lists]


def _disposition(number: int) -> object:
    try:
        return _ORIGINAL.get(number, _signal.getsignal(number))
    except ValueError:
        return None


def inherited() -> list[int]:
    """Return the files that a command started by this process would inherit."""
    numbers = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    return [number for number in numbers if _is_inheritable(number)]


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        # The one by which the directory was listed.
        return False


#: What the signals did before `_hear`.
_ORIGINAL: dict[int, object] = {}


def _hear() -> tuple[int, list[int]]:
    """Note the signals that come from now on instead of dying of them; return a file that becomes readable."""
    wakes, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(wakes, False)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    heard: list[int] = []
    for number in FORWARDED:
        _ORIGINAL[number] = _signal.getsignal(number)
        if _ORIGINAL[number] != _signal.SIG_IGN:
            _signal.signal(number, lambda number, _frame: heard.append(number))
    return wakes, heard


def _wait(connection: _socket.socket, life: int, pid: int, wakes: int, heard: list[int]) -> int:
    """Wait for the end of the child, and pass on what signals this process gets."""
    poll = select.poll()
    for descriptor in (connection.fileno(), life, wakes):
        poll.register(descriptor, select.POLLIN)
    code: int | None = None
    while True:
        while heard:
            _kill_group(pid, heard.pop(0))
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wakes in ready:
            os.read(wakes, 4096)
        if life in ready:
            if written := os.read(life, 1):
                code = written[0]
            else:
                poll.unregister(life)
        if connection.fileno() in ready:
            how, value = _fields(connection)
            if how == b"":
                # The server is gone. The child is not its business alone: it runs to its end.
                return _outlive(life, code, wakes, heard, pid)
            _end(how, int(value))


def _fields(connection: _socket.socket) -> tuple[bytes, bytes]:
    """Return the two fields of the next message of the server; both are empty if the connection was closed."""
    fields, _ = receive(connection)
    what, value, *_ = [*fields, b"", b""]
    return what, value


def _outlive(life: int, code: int | None, wakes: int, heard: list[int], pid: int) -> int:
    poll = select.poll()
    for descriptor in (life, wakes):
        poll.register(descriptor, select.POLLIN)
    while True:
        while heard:
            _kill_group(pid, heard.pop(0))
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wakes in ready:
            os.read(wakes, 4096)
        if life in ready:
            written = os.read(life, 1)
            if not written:
                return UNKNOWN_END if code is None else code
            code = written[0]


def _end(how: bytes, value: int) -> None:
    """End as the child did."""
    if how == b"signal":
        _signal.signal(value, _signal.SIG_DFL) if value not in (_signal.SIGKILL, _signal.SIGSTOP) else None
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.kill(os.getpid(), value)
    os._exit(value if how == b"exit" else UNKNOWN_END)


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
