"""The clients of the bus: a role process, and the command line."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import zmq

from jfr_mp.bus.messages import (
    Arguments,
    BusMessage,
    CommandReply,
    CommandRequest,
    ConditionReport,
    Drain,
    FromClient,
    Goodbye,
    MasterStatus,
    Measure,
    Measured,
    Message,
    Register,
    Rejection,
    SetLogLevel,
    StatusReply,
    StatusRequest,
    Wake,
    decode,
    encode,
    topic,
)
from jfr_mp.bus.paths import RunDir
from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.measurements import Measurements
from jfr_mp.model import Condition
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

logger = logging.getLogger(__name__)

#: Milliseconds that the last messages of a closing socket may take; if the master has died they never arrive.
_LINGER = 200
#: Seconds between two messages with measurements, the maximum number of them in one, which keeps it below the maximum
#: size of a message, and the seconds after which one without any is sent, from which the time on the bus is known.
_MEASURED_EVERY, _MEASUREMENTS_A_MESSAGE, _SILENT = 1.0, 2000, 10.0


class RoleBus:
    """The bus as a role process uses it: wake-ups and commands come in, events and its condition go out.

    One thread uses it; `wake` and `request_stop` may be called from any. Make one by `connect`.

    Attributes
    ----------
    on_log_level
        Called by `wait` with the new level when the user changes it.
    measurements
        Sent to the master by `wait` about once a second, if the master wants them.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._context = context
        self._control = context.socket(zmq.DEALER)
        self._publisher = context.socket(zmq.PUB)
        self._subscriber = context.socket(zmq.SUB)
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller = zmq.Poller()
        self._stop = False
        self.on_log_level: Callable[[LogLevel], None] | None = None
        self.measurements = Measurements(self.wake)
        self._measured = time.monotonic()

    @classmethod
    def connect(cls, run_dir: Path, name: str, role: Role, owner: str, wake_on: Iterable[JobState]) -> RoleBus:
        """Connect to the master of `run_dir` and register there.

        Connect early: from then on the master can stop the process. It counts as ready when it reports RUNNING.

        Parameters
        ----------
        run_dir
            The directory of the master.
        name, role, owner
            The name and role that the master gave this process, and the owner that its locks name.
        wake_on
            The states of jobs whose wake-ups it subscribes to.
        """
        bus, addresses = cls(zmq.Context()), RunDir(run_dir)
        # Each process has another owner, so no message to or from a dead predecessor is taken for one of this process.
        bus._control.setsockopt(zmq.IDENTITY, owner.encode())
        for bus_socket, address in (
            (bus._control, addresses.control),
            (bus._publisher, addresses.events_in),
            (bus._subscriber, addresses.events_out),
        ):
            bus_socket.linger = _LINGER
            bus_socket.connect(address)
        for state in wake_on:
            bus._subscriber.setsockopt(zmq.SUBSCRIBE, topic(state))
        for source in (bus._control, bus._subscriber, bus._wake_in):
            bus._poller.register(source, zmq.POLLIN)
        bus._send(Register(name=name, role=role, pid=os.getpid(), owner=owner))
        return bus

    @property
    def stop_requested(self) -> bool:
        """Whether this process should stop after the current step."""
        return self._stop

    def wait(self, timeout: float) -> set[JobState]:
        """Block until a wake-up or a command comes, for `timeout` seconds at most.

        Returns
        -------
        set of JobState
            The states that have new jobs; empty after a command, a call of `wake` or the timeout.
        """
        if self.stop_requested:
            return set()
        self._send_measurements()
        if self.measurements.pending:
            timeout = min(timeout, _MEASURED_EVERY)
        self._poller.poll(math.ceil(max(0.0, timeout) * 1000))
        self._empty_pipe()
        for message in _messages(self._control):
            self._execute(message)
        return {message.state for message in _messages(self._subscriber) if isinstance(message, Wake)}

    def publish(self, state: JobState) -> None:
        """Tell all subscribers that a job is now in `state`."""
        _send(self._publisher, [topic(state), encode(Wake(state=state))])

    def report(self, condition: Condition) -> None:
        """Report to the master the condition of this process, which counts as ready once that is RUNNING."""
        self._send(ConditionReport(condition=condition))

    def request_stop(self) -> None:
        """Have this process stop after the current step; safe in a signal handler and in any thread."""
        self._stop = True
        self.wake()

    def wake(self) -> None:
        """Make the current or the next `wait` return; safe in a signal handler and in any thread."""
        try:
            os.write(self._wake_out, b"!")
        except OSError:  # the pipe is full, so the next `wait` returns anyway; or the bus was closed before
            return

    def close(self, reason: str = "done") -> None:
        """Say goodbye and close; nothing can be sent afterwards, and closing again does nothing."""
        if self._control.closed:
            return
        self._send_measurements(within=0.0)
        self._send(Goodbye(reason=reason))
        for bus_socket in (self._control, self._publisher, self._subscriber):
            bus_socket.close()
        self._context.term()
        # A late `wake` must not write into a file that has got this number by then.
        wake_out, self._wake_out = self._wake_out, -1
        os.close(wake_out)
        os.close(self._wake_in)

    def _execute(self, message: Message) -> None:
        match message:
            case Drain():
                self.request_stop()
            case Measure():
                self.measurements.wanted = True
            case SetLogLevel(level=level):
                if self.on_log_level is not None:
                    self.on_log_level(level)
            case _:
                logger.warning("unexpected message from the master: %s", message.kind)

    def _send(self, message: BusMessage) -> None:
        _send(self._control, [encode(message)])

    def _send_measurements(self, within: float = _MEASURED_EVERY) -> None:
        now = time.monotonic()
        if not self.measurements.wanted or now - self._measured < within:
            return
        steps, states = self.measurements.take(_MEASUREMENTS_A_MESSAGE)
        if steps or states or now - self._measured > _SILENT:
            self._measured = now
            self._send(Measured(sent=now, steps=steps, states=states))

    def _empty_pipe(self) -> None:
        try:
            while os.read(self._wake_in, 4096):
                pass
        except BlockingIOError:
            return


def _send(bus_socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
    """Send, or drop the message if the other side has not read for so long that the queue is full."""
    try:
        bus_socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        logger.debug("a message was dropped: the other side of the bus does not read")


def _messages(bus_socket: zmq.Socket[bytes]) -> Iterator[Message]:
    """Yield the messages that have come; one that is malformed is logged and left out."""
    while True:
        try:
            frames = bus_socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        try:
            yield decode(frames[-1])
        except BusError as error:
            logger.warning("%s", error)


class MasterClient:
    """Sends requests to a master; each call waits for the reply.

    Parameters
    ----------
    run_dir
        The directory of the master.
    timeout
        Seconds after which a master that does not answer raises `BusError`.
    """

    def __init__(self, run_dir: RunDir, timeout: float = 5.0) -> None:
        self._run_dir = run_dir
        self._timeout = timeout
        self._context = zmq.Context()

    def status(self) -> MasterStatus:
        """Return the status of the master and its role processes."""
        reply = self._ask(StatusRequest())
        if not isinstance(reply, StatusReply):
            raise BusError(f"the master in {self._run_dir.path} answered a status request with {reply.kind}")
        return reply.master

    def command(self, name: str, *, id_: str = "", **arguments: Any) -> CommandReply:
        """Have the master carry out a command, and return whether it does; it answers before it has finished.

        Parameters
        ----------
        id_
            See `CommandRequest`.
        name, arguments
            A row of `jfr_mp.supervisor.commands.COMMANDS`, and the fields of its arguments.
        """
        given: Arguments = arguments
        reply = self._ask(CommandRequest(id=id_, name=name, arguments=given))
        if not isinstance(reply, CommandReply):
            raise BusError(f"the master in {self._run_dir.path} answered the command {name} with {reply.kind}")
        return reply

    def close(self) -> None:
        """Close the bus; a request that is not sent yet is dropped."""
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: FromClient) -> Message:
        # One socket a request: the late reply to one that timed out cannot be taken for that to the next.
        with self._context.socket(zmq.DEALER) as bus_socket:
            bus_socket.linger = 0
            bus_socket.connect(self._run_dir.control)
            bus_socket.send(encode(request))
            if not bus_socket.poll(math.ceil(self._timeout * 1000)):
                raise BusError(
                    f"the master in {self._run_dir.path} did not answer within {self._timeout:g} s: see its log, or "
                    "kill it with `jfr-mp kill`"
                )
            reply = decode(bus_socket.recv_multipart()[-1])
        if isinstance(reply, Rejection):
            raise BusError(f"the master in {self._run_dir.path} rejected {request.kind}: {reply.why}")
        return reply
