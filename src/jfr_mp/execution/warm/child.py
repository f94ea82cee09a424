"""The child of a warm server: a process that becomes what the cold worker command would be, and runs one job."""

from __future__ import annotations

import ast
import atexit
import contextlib
import fcntl
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from jfr_mp.execution.warm.direct import Submission
from jfr_mp.execution.warm.imports import new_modules
from jfr_mp.execution.warm.kinds import limits
from jfr_mp.execution.warm.wire import unpack

#: Linux's number for the command that chooses the signal of `O_ASYNC`.
_F_SETSIG = 10


@dataclass(frozen=True)
class Order:
    """What a client wants: a command, and the process that is to execute it.

    Parameters
    ----------
    kind
        See `jfr_mp.execution.warm.kinds`.
    directory
        The working directory.
    command
        The arguments of the worker command.
    environment
        All environment variables.
    values
        Further attributes of the process, as `jfr_mp.execution.warm.client.request` names them.
    life
        The pipe that tells the client of the end of the child, or of its id if it has no script.
    begins
        The pipe from which one byte comes when the child shall begin; none comes if the client has given up.
    watched
        The pipe that ends when the client does.
    files
        The files that the client would let a command inherit, by their numbers there.
    submission
        What the job does instead of its script; None if a script has started it.
    """

    kind: bytes
    directory: str
    command: Sequence[str]
    environment: Mapping[str, str]
    values: Mapping[str, Any]
    life: int
    begins: int
    watched: int
    files: Mapping[int, int]
    submission: Submission | None

    @classmethod
    def read(cls, fields: Sequence[bytes], files: Sequence[int]) -> Self:
        """Read a request.

        Raises
        ------
        ValueError
            It is not one.
        """
        try:
            kind, directory, values, command, environment = fields
            life, begins, watched, *rest = files
            known = ast.literal_eval(values.decode())
            numbered = dict(zip(known["files"], rest, strict=True))
            submission = Submission(**known["submission"]) if known["submission"] else None
        except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
            raise ValueError("this is not a request") from error
        variables = (os.fsdecode(variable).partition("=") for variable in unpack(environment))
        return cls(
            kind=kind,
            directory=os.fsdecode(directory),
            command=[os.fsdecode(word) for word in unpack(command)],
            environment={name: value for name, _, value in variables},
            values=known,
            life=life,
            begins=begins,
            watched=watched,
            files=numbered,
            submission=submission,
        )

    @property
    def reap(self) -> bool:
        """Whether what the job leaves behind is stopped with it."""
        return bool(self.values["reap"])


def begin(order: Order, news: int) -> NoReturn:
    """Become the process that the client describes, run its job, and exit.

    If the job has no script, the client does not wait for it, and the job outlives the client.

    Parameters
    ----------
    news
        The socket to which the child writes what it had to import.
    """
    code, known, server = 1, tuple(sys.modules), os.getppid()
    try:
        life, begins, watched, news = _take_files(order, news)
        os.setsid()
        if os.read(begins, 1) == b"!":
            if order.submission is None:
                _die_with_client(watched)
            _become(order)
            if order.submission is None or order.submission.begin(life):
                code = _run(order)
                if code == 0:
                    _tell(news, new_modules(known))
                _tell_end(order, life, code, server)
    except BaseException:  # the top of a process: what it is goes to the job's own standard error
        traceback.print_exc()
    finally:
        os._exit(code & 255)


def _tell_end(order: Order, life: int, code: int, server: int) -> None:
    """Report the end of the job to its client, or to the journal if the server is gone, which otherwise does it."""
    if order.submission is None:
        os.write(life, bytes([code & 255]))
    elif os.getppid() != server:
        order.submission.report("end")


def _die_with_client(watched: int) -> None:
    """Let the kernel kill this process group when the client is killed: it then passes on no signal any more.

    The client holds the other end of the pipe, and the kernel sends the chosen signal when that end is closed. The
    kernel also sends it after a byte was written, and possibly only when that byte has been read: hence a pipe without
    bytes.
    """
    fcntl.fcntl(watched, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(watched, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)


def _tell(news: int, modules: list[str]) -> None:
    """Report to the server what this job had to import; nothing depends on it."""
    if modules:
        with contextlib.suppress(OSError):
            socket.socket(fileno=os.dup(news)).send("\n".join(modules).encode(), socket.MSG_DONTWAIT)


def _take_files(order: Order, news: int) -> tuple[int, int, int, int]:
    """Give the files of the client their numbers and close all others; return where the pipes are now."""
    free = max([2, *order.files]) + 1
    # Out of the way first: a file may have the number that another one is to get.
    moved = {number: _above(descriptor, free) for number, descriptor in order.files.items()}
    pipes = (order.life, order.begins, order.watched, news)
    life, begins, watched, news = (_above(descriptor, free) for descriptor in pipes)
    for number in (0, 1, 2):
        if number not in moved:
            moved[number] = os.open(os.devnull, os.O_RDWR)
    for number, descriptor in moved.items():
        os.dup2(descriptor, number, inheritable=True)
    keep = sorted({*moved, life, begins, watched, news})
    for number, following in zip(keep, [*keep[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        # Of an empty range, `closerange` closes everything.
        if number + 1 < following:
            os.closerange(number + 1, following)
    return life, begins, watched, news


def _above(descriptor: int, number: int) -> int:
    """Return a copy of a file whose number is not below another."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, number)


def _become(order: Order) -> None:
    values = order.values
    for number, soft in zip(limits(), values["soft_limits"], strict=True):
        resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))
    os.umask(values["umask"])
    os.sched_setaffinity(0, values["affinity"])
    os.chdir(order.directory)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    for number in values["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, values["blocked"])
    sys.argv = ["-m", *order.command]
    _seed_anew()


def _seed_anew() -> None:
    """Give each child random numbers of its own: the generators were seeded when they were imported."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()


def _run(order: Order) -> int:
    """Run the worker command to its end, with all that an interpreter does at its end."""
    from jfr_mp.execution.__main__ import main

    try:
        code = _exit_code(main(list(order.command)))
    except SystemExit as error:
        code = _exit_code(error.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        _finish()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        code = 130
    except BaseException:  # as the interpreter does
        traceback.print_exc()
        code = 1
    _finish()
    return code


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _finish() -> None:
    """Wait for the threads of the job, call its exit functions and write out what is buffered."""
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls at its end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
