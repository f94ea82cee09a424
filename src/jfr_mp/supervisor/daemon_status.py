"""The state of masters and role processes in the terms of jobflow-remote's daemon, and of supervisord."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.supervisor.lifecycle import State

#: The key of a master among its processes, which scripts leave out by this name.
MASTER = "supervisord"

#: supervisord's numbers of the states of processes.
_NUMBERS: Mapping[str, int] = {
    State.STOPPED: 0,
    State.STARTING: 10,
    State.RUNNING: 20,
    State.BACKOFF: 30,
    State.STOPPING: 40,
    State.EXITED: 100,
    State.FATAL: 200,
}
_ALIVE = (State.STARTING, State.RUNNING, State.BACKOFF)


class DaemonStatus(Enum):
    """The state of the daemon."""

    SHUT_DOWN = "SHUT_DOWN"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    STOPPED = "STOPPED"
    STOPPING = "STOPPING"
    PARTIALLY_RUNNING = "PARTIALLY_RUNNING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"


def status_of(masters: Sequence[MasterStatus]) -> DaemonStatus:
    """Return the state of the daemon that consists of these masters."""
    if not masters:
        return DaemonStatus.SHUT_DOWN
    if any(master.state == State.STOPPING for master in masters):
        return DaemonStatus.STOPPING
    states = {role.state for master in masters for role in master.roles}
    if states == {State.RUNNING}:
        return DaemonStatus.RUNNING
    if states <= set(_ALIVE):
        return DaemonStatus.STARTING
    return DaemonStatus.PARTIALLY_RUNNING if states & set(_ALIVE) else DaemonStatus.STOPPED


def processes_of(masters: Sequence[MasterStatus], logs: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of each process by its name, with supervisord's keys.

    Parameters
    ----------
    masters
        The masters.
    logs
        The directory of their logs.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, master in enumerate(masters):
        name = f"{MASTER}-{number}" if number else MASTER
        state = master.state if master.state in _NUMBERS else State.RUNNING
        found[name] = {"pid": master.pid, "statename": str(state), "state": _NUMBERS[state], "group": None}
        for role in master.roles:
            found[f"runner:{role.name}"] = {
                "name": role.name,
                "group": "runner",
                "pid": role.pid or 0,
                "statename": role.state,
                "state": _NUMBERS[role.state],
                "spawnerr": role.last_error or "",
                "logfile": str(logs / f"{role.name}.log"),
            }
    return found
