"""The fork server: role processes are forked from one process that has imported what all of them need.

The imports of a role process take about a second of CPU time and most of its memory. Here they are done once, while
the master connects to the database; a role process that starts, or replaces one that died, costs a fork, and the role
processes share the memory of the imports.

A fork copies the calling thread alone, and a lock that another thread holds would stay locked for ever. So the fork
server itself is forked from the master before the master has a second thread, and it never starts one. Role processes
start cold, with an interpreter of their own, if the program that calls `jfr_mp.supervisor.control.start` already has
threads, if the system is not Linux, and after the end of the fork server.

The master and the fork server exchange one JSON object per message over a socket pair. The fork server is the parent of
the role processes, so it sends them the signals, too: it alone knows whether a pid is still theirs.
"""

from __future__ import annotations

import array
import atexit
import fcntl
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, NoReturn

import psutil

from jfr_mp.bus import messages
from jfr_mp.database.connection import prepare_clients
from jfr_mp.deferral import FOR_RUNNER
from jfr_mp.execution.warm.imports import count_threads, preload
from jfr_mp.identity import ProcessIdentity, our_version, show_as
from jfr_mp.model import build_models
from jfr_mp.supervisor.child import PROGRAM, ChildArguments, ColdStart, RoleProcess, role_arguments

logger = logging.getLogger(__name__)

#: What role processes need; imported by name, because the master itself imports none of it.
MODULES = (PROGRAM, "jobflow")
#: Seconds for the imports, and for a fork.
_READY_WITHIN, _ANSWER_WITHIN = 60.0, 15.0
#: The file descriptor of the lifeline in a role process that was forked.
_LIFELINE = 3
#: The exit status of a process whose fork server ended before it.
_UNKNOWN_STATUS = 255
_LARGEST_MESSAGE = 65536


class ForkServer:
    """The fork server of a project as its master sees it.

    Parameters
    ----------
    project
        The name of the project.
    pid
        The fork server's process, a child of this one.
    connection
        The master's end of the socket pair.
    """

    def __init__(self, project: str, pid: int, connection: socket.socket) -> None:
        self.server_pid: int | None = pid
        self._pid = pid
        self._cold = ColdStart(project)
        self._project = project
        self._connection = connection
        self._alive = True
        self._ended: dict[int, int] = {}
        connection.settimeout(_ANSWER_WITHIN)

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._alive

    @property
    def announces(self) -> Sequence[int]:
        """See `RoleProcesses.announces`."""
        return (self._connection.fileno(),) if self._alive else ()

    def wait_ready(self) -> None:
        """Wait until it has done its imports."""
        self._connection.settimeout(_READY_WITHIN)
        self._answer("ready")
        if self._alive:
            self._connection.settimeout(_ANSWER_WITHIN)

    def start(self, arguments: ChildArguments, log: int) -> RoleProcess:
        """Fork a role process, or start it cold if the fork server has ended.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        here = role_arguments(self._project, replace(arguments, lifeline=_LIFELINE))
        if self._send({"start": here}, [log, arguments.lifeline]) and (pid := self._answer("started")):
            return _Forked(self, pid)
        return self._cold.start(arguments, log)

    def ended(self, pid: int) -> int | None:
        """Return the exit status of a role process once and as `subprocess` gives it, or None if it runs."""
        while self._alive and pid not in self._ended and select.select([self._connection], [], [], 0)[0]:
            self._take()
        return self._ended.pop(pid, None)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a role process, unless it has ended."""
        self._send({"signal": int(number), "pid": pid}, [])

    def close(self) -> None:
        """End it; the role processes are not touched."""
        self._connection.close()
        self._alive = False
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _answer(self, name: str) -> int | None:
        """Wait for an answer, or return None if the fork server ends before it gives one."""
        while self._alive:
            message = self._take()
            if name in message:
                return int(message[name])
        return None

    def _take(self) -> dict[str, Any]:
        """Read one message; note the end of a role process."""
        try:
            message, _ = _receive(self._connection)
        except OSError as error:
            message = {"failed": f"it does not answer: {error}"}
        if message is None or "failed" in message:
            self._give_up(message["failed"] if message else "it has exited")
            return {}
        if "ended" in message:
            self._ended[message["ended"]] = message["status"]
        return message

    def _send(self, message: dict[str, Any], files: Sequence[int]) -> bool:
        if self._alive:
            try:
                _send(self._connection, message, files)
            except OSError as error:
                self._give_up(str(error))
        return self._alive

    def _give_up(self, why: str) -> None:
        """Do without it, and end it: the master would not know of a process that it forks later."""
        logger.warning("the fork server (pid %d) is given up, and role processes start cold: %s", self._pid, why)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self.close()


class _Forked:
    """A role process that was forked."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self._server = server
        self._process = _process(pid)

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        if (status := self._server.ended(self.pid)) is not None or self._server.alive:
            return status
        return None if self._runs() else _UNKNOWN_STATUS

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._server.alive:
            self._server.signal(self.pid, number)
        elif self._process and self._runs():
            self._process.send_signal(number)

    def _runs(self) -> bool:
        try:
            process = self._process
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


@contextmanager
def role_processes(project: str) -> Iterator[ForkServer | ColdStart]:
    """Yield what starts the role processes of a project; call it before the first thread."""
    if sys.platform != "linux" or count_threads() > 1:
        yield ColdStart(project)
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    _prepare()
    if (pid := os.fork()) == 0:
        ours.close()
        show_as("fork server", project)
        _leave(lambda: _serve(theirs, project))
    theirs.close()
    server = ForkServer(project, pid, ours)
    try:
        yield server
    finally:
        if server.alive:
            server.close()


def _prepare() -> None:
    """Leave in memory what both the master and the role processes need, so that they share it."""
    build_models()
    messages.prepare()
    prepare_clients()
    ProcessIdentity.of_this_process()
    our_version()
    # A collection of garbage writes to each object, and what is written to is no longer shared with other processes.
    gc.freeze()


# The fork server's side


def _serve(connection: socket.socket, project: str) -> int:
    """Be the fork server until the master ends."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _redirect({0: os.open(os.devnull, os.O_RDWR), 1: 2})
    try:
        preload(MODULES, FOR_RUNNER)
        import_module(PROGRAM).rehearse(project)
    except Exception as error:  # whatever an installation raises: a cold start says it in the role's log
        _send(connection, {"failed": f"{type(error).__name__}: {error}"})
        return 1
    gc.collect()
    gc.freeze()
    with suppress(BrokenPipeError, ConnectionResetError):
        _send(connection, {"ready": 1})
        _Server(connection).serve()
    return 0


class _Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._children: set[int] = set()
        self._wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> None:
        while True:
            readable, _, _ = select.select([self._connection.fileno(), self._wakes], [], [])
            if self._wakes in readable:
                os.read(self._wakes, 4096)
            self._reap()
            if self._connection.fileno() in readable:
                message, files = _receive(self._connection)
                if message is None:
                    return
                self._obey(message, files)

    def _obey(self, message: dict[str, Any], files: Sequence[int]) -> None:
        if "start" in message:
            if (pid := os.fork()) == 0:
                _become(message["start"], *files)
            self._children.add(pid)
            _send(self._connection, {"started": pid})
            for file in files:
                os.close(file)
        elif message["pid"] in self._children:
            os.kill(message["pid"], message["signal"])

    def _reap(self) -> None:
        for pid in tuple(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.remove(pid)
                _send(self._connection, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _become(arguments: Sequence[str], log: int, lifeline: int) -> NoReturn:
    """Be a role process, in a session of its own."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    _redirect({0: os.open(os.devnull, os.O_RDONLY), 1: log, 2: log, _LIFELINE: lifeline})
    os.closerange(_LIFELINE + 1, os.sysconf("SC_OPEN_MAX"))
    sys.argv = [PROGRAM, *arguments]
    _leave(lambda: import_module(PROGRAM).main(list(arguments)))


def _redirect(files: dict[int, int]) -> None:
    """Give open files the numbers that they are to have."""
    above = max(files) + 1
    # Out of the way first: a file may have the number that another one is to get.
    moved = {number: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, above) for number, file in files.items()}
    for number, file in moved.items():
        os.dup2(file, number, inheritable=number < _LIFELINE)
        os.close(file)


def _leave(program: Callable[[], object]) -> NoReturn:
    """Run a program in a forked process and exit, without what the process that forked it does at its own end."""
    atexit._clear()
    code: object = 1
    try:
        code = program()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:  # the top of a process
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 1)


# Messages


def _send(connection: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    connection.sendmsg([json.dumps(message).encode()], ancillary)


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return a message and its files, or None if the other side has closed its end."""
    files = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(_LARGEST_MESSAGE, socket.CMSG_SPACE(2 * files.itemsize))
    for _level, _kind, numbers in ancillary:
        files.frombytes(numbers[: len(numbers) - len(numbers) % files.itemsize])
    return (json.loads(data) if data else None), list(files)
