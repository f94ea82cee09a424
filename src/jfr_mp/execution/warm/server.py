"""The warm server: a process that has imported jobflow and forks a child for each job.

It has one thread and imports nothing that starts another: a fork copies the calling thread alone, and a lock that
another one holds would stay locked for ever. The kernel tells how many threads there are, and if there is a second one,
the server marks its kind as cold and goes.

A server learns from its jobs: what a job has imported, a fork of the server imports, too, and takes its place, unless
an import leaves something that no two jobs may share. The jobs after it then find these modules imported.

A server stops when its jobs have ended and it was idle for `IDLE` seconds, has served `MOST_JOBS` jobs or is `OLDEST`
seconds old, when files have changed that it has imported, or when its socket was removed or belongs to another one.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jfr_mp.execution.warm.child import Order, begin
from jfr_mp.execution.warm.imports import Imported, Unsafe, count_threads, learn, preload
from jfr_mp.execution.warm.kinds import kind_of, socket_path
from jfr_mp.execution.warm.wire import RETIRE, receive, send

#: Seconds and jobs after which a server is replaced.
IDLE, OLDEST, MOST_JOBS = 60.0, 3600.0, 1000
#: Seconds between two looks at whether imported files have changed, and at whether the server is still wanted.
CHECK_EVERY, LOOK_EVERY = 2.0, 5.0
#: Seconds that a client may take to send its request, and to close the connection after the end of its job.
REQUEST_TIMEOUT = 10.0
#: Seconds between two lessons, and the most of them: each is a new process.
LEARN_EVERY, MOST_LESSONS = 5.0, 20
#: The descriptor of the lock that the client took which started this server.
LOCK = 3


@dataclass
class Job:
    """A child, its order, and the client that waits for it."""

    pid: int
    connection: socket.socket
    order: Order


class Server:
    """Serves the clients of one kind.

    Parameters
    ----------
    path
        Where it listens.
    kind
        What its clients must be like; see `jfr_mp.execution.warm.kinds`.
    """

    def __init__(self, path: Path, kind: bytes) -> None:
        self._path = path
        self._kind = kind
        self._imported = Imported()
        self._jobs: dict[int, Job] = {}
        self._learner: int | None = None
        self._refused: set[str] = set()
        self._lessons = 0
        self._learn_due = 0.0
        self._served = 0
        self._retired = False
        self._began = self._busy = time.monotonic()
        self._check_due = 0.0

    def serve(self, on_listening: Callable[[], None]) -> None:
        """Serve until it is time to go.

        Parameters
        ----------
        on_listening
            Called when clients can connect.
        """
        self._listen()
        self._watch()
        on_listening()
        while not (self._retired and not self._jobs):
            selector = self._selector
            for key, _ in selector.select(LOOK_EVERY):
                key.data()
                if selector is not self._selector:
                    # A lesson has made this process the next server: what remains is for the one before.
                    break
            self._reap()
            if not self._retired and not self._is_wanted():
                self._retire()

    def _watch(self) -> None:
        """Let the loop hear clients, jobs and signals."""
        self._selector = selectors.DefaultSelector()
        self._news, self._tell = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._news.setblocking(False)
        wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._hear)
        self._selector.register(wakes, selectors.EVENT_READ, lambda: os.read(wakes, 4096))
        self._selector.register(self._news, selectors.EVENT_READ, self._hear_news)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        own = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        self._listener.bind(str(own))
        self._listener.listen(512)
        self._inode = own.stat().st_ino
        own.rename(self._path)
        self._listener.setblocking(False)

    def _hear(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            # The jobs are not this process's to end: it goes when they have ended.
            self._retired = True
            self._retire()

    def _is_wanted(self) -> bool:
        now = time.monotonic()
        if self._jobs:
            self._busy = now
        try:
            in_place = self._path.stat().st_ino == self._inode
        except OSError:
            in_place = False
        young = now - self._began < OLDEST and self._served < MOST_JOBS
        return in_place and young and now - self._busy < IDLE

    def _retire(self) -> None:
        """Take no more jobs; the next client starts a new server."""
        self._retired = True
        if self._listener.fileno() == -1:
            return
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._selector.unregister(self._listener)
        self._listener.close()

    # One client

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.settimeout(REQUEST_TIMEOUT)
            files: list[int] = []
            try:
                _check_peer(connection)
                fields, files = receive(connection)
                if fields == [RETIRE]:
                    self._retire()
                self._serve(connection, Order.read(fields, files))
            except (Unsafe, OSError, ValueError) as error:
                with suppress(OSError):
                    send(connection, [b"refused", str(error).encode()])
                connection.close()
                if isinstance(error, Unsafe):
                    self._mark_cold(str(error))
            finally:
                for descriptor in files:
                    os.close(descriptor)

    def _serve(self, connection: socket.socket, order: Order) -> None:
        if order.kind != self._kind:
            raise ValueError("this server serves jobs of another kind")
        self._check_imports()
        if (threads := count_threads()) != 1:
            raise Unsafe(f"{threads} threads run in a process that has imported jobflow")
        pid = os.fork()
        if pid == 0:
            self._become_child(order)
        self._served += 1
        self._jobs[pid] = Job(pid, connection, order)
        if order.submission is not None:
            # The child answers itself, and the queue role reads of its end in the journal.
            connection.close()
            return
        send(connection, [b"pid", str(pid).encode()])
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._client_gone(pid))

    def _become_child(self, order: Order) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        begin(order, self._tell.fileno())

    def _client_gone(self, pid: int) -> None:
        """End the job of a client that was killed: it cannot pass on any signal."""
        job = self._jobs[pid]
        self._selector.unregister(job.connection)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for job in list(self._jobs.values()):
            # Not reaped before its group was killed: until then its pid is not given again.
            status = os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if status is None:
                continue
            if job.order.reap:
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
            os.waitpid(job.pid, 0)
            if job.order.submission is not None:
                job.order.submission.report_end(job.order.directory, job.pid)
            how = b"exit" if status.si_code == os.CLD_EXITED else b"signal"
            with suppress(OSError):
                send(job.connection, [how, str(status.si_status).encode()])
            with suppress(KeyError, ValueError):
                self._selector.unregister(job.connection)
            job.connection.close()
            del self._jobs[job.pid]
            self._busy = time.monotonic()

    # Lessons

    def _hear_news(self) -> None:
        """Let a fork of this process learn what a job had to import, and take its place."""
        modules = [name for name in self._news.recv(2**20).decode().split() if name not in self._refused]
        fresh = [name for name in modules if name not in sys.modules]
        now = time.monotonic()
        if not fresh or self._learner or self._retired or now < self._learn_due or self._lessons >= MOST_LESSONS:
            return
        self._learn_due = now + LEARN_EVERY
        self._lessons += 1
        ready, is_ready = os.pipe()
        gc.unfreeze()
        if (pid := os.fork()) == 0:
            os.close(ready)
            self._take_over(fresh, is_ready)
            return
        gc.freeze()
        os.close(is_ready)
        self._learner = pid
        self._selector.register(ready, selectors.EVENT_READ, lambda: self._learned(ready, fresh))

    def _take_over(self, modules: list[str], is_ready: int) -> None:
        """Become the next server: in a fork, which has the socket already, but none of the jobs."""
        try:
            signal.set_wakeup_fd(-1)
            for job in self._jobs.values():
                job.connection.close()
            self._jobs.clear()
            self._selector.close()
            self._news.close()
            self._tell.close()
            learn(modules)
        except BaseException as error:  # whatever an import raises: the server that is there goes on
            _say(f"not learned: {error}")
            os._exit(1)
        self._imported = Imported()
        self._learner = None
        self._served = 0
        self._began = self._busy = time.monotonic()
        self._watch()
        gc.collect()
        gc.freeze()
        _say(f"learned {len(modules)} modules")
        os.write(is_ready, b"!")
        os.close(is_ready)

    def _learned(self, ready: int, modules: list[str]) -> None:
        """Leave the socket to the successor, or remember what cannot be learned."""
        self._selector.unregister(ready)
        taken_over = os.read(ready, 1) == b"!"
        os.close(ready)
        if not taken_over:
            os.waitpid(self._learner or 0, 0)
            self._learner = None
            self._refused.update(modules)
            return
        self._retired = True
        self._selector.unregister(self._listener)
        self._listener.close()

    def _check_imports(self) -> None:
        now = time.monotonic()
        if now < self._check_due:
            return
        self._check_due = now + CHECK_EVERY
        if changed := self._imported.changed():
            self._retire()
            raise ValueError(f"{changed} has changed")

    def _mark_cold(self, why: str) -> None:
        mark_cold(self._path, why)
        self._retire()


def mark_cold(path: Path, why: str) -> None:
    """Let the jobs of a kind start cold for a while."""
    _say(f"jobs of this kind start cold: {why}")
    path.with_name(f"{path.name}.cold").touch()


def _check_peer(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid != os.getuid():
        raise ValueError(f"user {uid} is not served")


def _say(text: str) -> None:
    """Write a line to the log, which is the standard error; `logging` would be configured for the jobs, too."""
    os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {os.getpid()} {text}\n".encode())


def main(arguments: list[str]) -> int:
    """Serve at a path, for jobs with the environment of this process."""
    path, python = Path(arguments[0]), arguments[1]
    kind = kind_of(python, os.environ)
    if socket_path(str(path.parent), kind) != str(path):
        mark_cold(path, "the environment of this process is not that of the client that started it")
        return 1
    try:
        preload()
    except Exception as error:  # whatever an installation raises: the cold start says it to the user
        mark_cold(path, f"jobflow cannot be imported: {type(error).__name__}: {error}")
        return 1
    gc.collect()
    gc.freeze()
    _say("ready")
    Server(path, kind).serve(on_listening=lambda: os.close(LOCK))
    _say("going")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
