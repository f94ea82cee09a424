"""What a master reports to the service manager that started it, such as systemd: the protocol of sd_notify(3)."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Self

from jfr_mp.supervisor.lifecycle import State

logger = logging.getLogger(__name__)

#: The variables by which the service manager makes itself known; the processes of a master must not answer for it.
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceState(Enum):
    """The state of a service as its manager sees it, with the message that announces it."""

    STARTING = ""
    READY = "READY=1"
    RELOADING = "RELOADING=1"
    STOPPING = "STOPPING=1"


class ServiceManager:
    """The service manager of this process; without one, all methods do nothing.

    Parameters
    ----------
    address
        The path of its datagram socket, or the name of an abstract one after an ``@``; None if there is no manager.
    watchdog
        Seconds without a message after which it considers this process as hung; None if it does not watch.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._interval = watchdog / 3 if watchdog and address else math.inf
        self._watchdog_due = -math.inf
        #: The variables by which this manager made itself known.
        self.variables: dict[str, str] = {}
        self._state = ServiceState.STARTING
        self._text = ""

    @classmethod
    def from_environment(cls) -> Self:
        """Return the manager that started this process, and take it out of the environment of later children."""
        variables = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
        address, microseconds, pid = (variables.get(name) for name in _VARIABLES)
        watched = microseconds and microseconds.isdecimal() and pid in (None, str(os.getpid()))
        manager = cls(address or None, int(microseconds) / 1e6 if microseconds and watched else None)
        manager.variables = variables
        return manager

    @property
    def interval(self) -> float:
        """The longest time between two calls of `update`, in seconds; infinite without a watchdog."""
        return self._interval

    def update(self, state: ServiceState, text: str) -> None:
        """Report what has changed, and that the loop which calls this goes on."""
        if self._address is None:
            return
        lines = []
        if state is not self._state:
            lines.append(state.value)
            if state is ServiceState.RELOADING:
                lines.append(f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        if text != self._text:
            lines.append(f"STATUS={' '.join(text.split())}")
        if (now := time.monotonic()) >= self._watchdog_due and self._interval < math.inf:
            lines.append("WATCHDOG=1")
        if lines and self._send("\n".join(lines)):
            self._state, self._text = state, text
            self._watchdog_due = now + self._interval if "WATCHDOG=1" in lines else self._watchdog_due

    def _send(self, message: str) -> bool:
        """Send a message without waiting; return whether it was sent."""
        assert self._address is not None
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto(message.encode(), self._address)
        except BlockingIOError:  # its queue is full: the next turn tries again
            return False
        except OSError as error:
            logger.warning("the service manager cannot be reached: %s; it is told nothing from now on", error)
            self._address, self._interval = None, math.inf
            return False
        return True


def settled(states: Mapping[str, State]) -> bool:
    """Return whether each role process is ready or was given up, so that the start is over."""
    return all(state in (State.RUNNING, State.FATAL) for state in states.values())


def summary(states: Mapping[str, State], notices: Sequence[str] = ()) -> str:
    """Return one line about the role processes of these names and states, and what else the user should know."""
    running = sum(state is State.RUNNING for state in states.values())
    others = [f"{name} {state}" for name, state in states.items() if state is not State.RUNNING]
    return "; ".join([f"{running} of {len(states)} role processes are running", *others, *notices])
