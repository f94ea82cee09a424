"""The document `running_runner`: how jobflow-remote's daemon and our masters keep out of each other's way.

Its daemon starts when the document is empty or agrees with itself in host name, project, user and daemon_dir. Ours
never agrees: it names a daemon_dir of its own. The key `jfr_mp` tells it from the peer's and lists our masters; the
last one to leave empties it.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from jfr_mp.database import processes
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.errors import AlreadyRunning, JfrMpError, NotInitialised, RunnerLockedError
from jfr_mp.identity import new_lock_id
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.connection import Doc, QueueDatabase

_FILTER = {"running_runner": {"$exists": True}}

#: Seconds that a process of ours or of the peer may take over a look at the document.
_PATIENCE = 5.0

#: As many pings as the peer keeps.
_KEPT_PINGS = 50


def runner_info(project: Project) -> Doc:
    """Describe this machine the way the peer's daemon describes its own."""
    now = utcnow()
    return {
        "hostname": socket.gethostname(),
        "user": getpass.getuser(),
        "daemon_dir": str(Path(str(project.daemon_dir)) / "jfr_mp"),
        "project_name": project.name,
        "mac_address": None,
        "processes_info": None,
        "start_time": now,
        "last_pinged": now,
        "runner_options": project.runner.model_dump(mode="json"),
    }


def acquire(db: QueueDatabase, master: ProcessRecord) -> None:
    """Enter a master of ours, here and in the registry of processes.

    Raises
    ------
    AlreadyRunning
        When the peer's daemon runs, or may run, on this database, or masters of another project do.
    RunnerLockedError
        When somebody keeps the document locked.
    """
    # First the registry: another master that leaves now would take this one for dead and empty the document.
    processes.register(db, master)
    try:
        _enter(db, master.id)
    except JfrMpError:
        processes.unregister(db, master.id)
        raise


def _enter(db: QueueDatabase, owner: str) -> None:
    with _locked(db, owner) as lock:
        runner = _runner_in(lock)
        masters = _masters(db, runner)
        if runner and not is_ours(runner):
            _refuse_peer(runner)
        if masters and runner and runner["project_name"] != db.project.name:
            raise AlreadyRunning(f"jfr-mp runs project {runner['project_name']} on this database; {_where(runner)}")
        info = dict(runner) if masters and runner else runner_info(db.project)
        info["jfr_mp"] = {"masters": [*(name for name in masters if name != owner), owner]}
        lock.update_on_release = {"$set": {"running_runner": info}}


def release(db: QueueDatabase, owner: str) -> None:
    """Remove a master of ours; the document is emptied when no living one is left."""
    with _locked(db, owner) as lock:
        runner = _runner_in(lock)
        if runner and is_ours(runner):
            left = [name for name in _masters(db, runner) if name != owner]
            lock.update_on_release = {
                "$set": {"running_runner": {**runner, "jfr_mp": {"masters": left}} if left else None}
            }


def read(db: QueueDatabase) -> Doc | None:
    """Return who runs, the peer's daemon or ours, or None."""
    document = db.auxiliary.find_one(_FILTER)
    return document["running_runner"] if document else None


def clear(db: QueueDatabase) -> None:
    """Empty the document, whoever it belongs to and whoever locks it; for a person who knows that nothing runs."""
    db.auxiliary.update_one(_FILTER, {"$set": {"running_runner": None, "lock_id": None, "lock_time": None}})


def ping_data(db: QueueDatabase, master: ProcessRecord) -> Doc:
    """Return what a ping of a master says; ``jf runner info`` of the peer does not do without."""
    info = runner_info(db.project)
    return {
        "daemon_id": master.id,
        "runner_id": master.id,
        "run_options": {role.value: role.value in master.roles for role in Role},
        **{key: info[key] for key in ("project_name", "hostname", "user", "daemon_dir")},
    }


def ping(db: QueueDatabase, data: Mapping[str, Any] | None = None) -> None:
    """Note that the runner is alive, in both places where the peer looks for it."""
    now = utcnow()
    db.auxiliary.update_one(
        {"running_runner.last_pinged": {"$exists": True}}, {"$set": {"running_runner.last_pinged": now}}
    )
    entry = {**(data or {}), "time": now}
    db.auxiliary.update_one(
        {"runner_pings": {"$exists": True}},
        {"$push": {"runner_pings": {"$each": [entry], "$slice": -_KEPT_PINGS}}},
    )


def is_ours(runner: Mapping[str, Any]) -> bool:
    """Tell whether masters of ours wrote the document."""
    return "jfr_mp" in runner


def _locked(db: QueueDatabase, owner: str) -> MongoLock:
    return MongoLock(db.auxiliary, _FILTER, lock_id=new_lock_id(owner), sleep=0.05, max_wait=_PATIENCE)


def _runner_in(lock: MongoLock) -> Doc | None:
    if lock.locked_document is not None:
        runner: Doc | None = lock.locked_document["running_runner"]
        return runner
    if lock.unavailable_document is None:
        raise NotInitialised("the database was never prepared: it has no document of the running runner")
    raise RunnerLockedError(
        f"the document of the running runner is locked by {lock.unavailable_document['lock_id']} since "
        f"{lock.unavailable_document.get('lock_time')} UTC; if its owner is dead: jf admin unlock-runner"
    )


def _masters(db: QueueDatabase, runner: Mapping[str, Any] | None) -> list[str]:
    """Return those of our masters that still live; one that was killed could not leave by itself."""
    if not runner or not is_ours(runner):
        return []
    alive = {record.id for record in processes.living(db, db.project.jfr_mp.lease_ttl)}
    return [name for name in runner["jfr_mp"]["masters"] if name in alive]


def _refuse_peer(runner: Mapping[str, Any]) -> None:
    if not is_provably_dead(runner):
        raise AlreadyRunning(
            f"a daemon of jobflow-remote runs on this database: {_where(runner)}. Stop it there with `jf runner stop`; "
            "if it is dead, clear its entry with `jf runner reset`"
        )


def _where(runner: Mapping[str, Any]) -> str:
    return f"host {runner['hostname']}, user {runner['user']}, since {runner['start_time']} UTC"


def is_provably_dead(runner: Mapping[str, Any]) -> bool:
    """Tell whether the peer's daemon of a document is certainly gone: it was ours to see, and there is nothing of it.

    Its pids would not do: supervisord restarts its processes under new ones, and they outlive it when it is killed.
    """
    visible = runner["hostname"] == socket.gethostname() and runner["user"] == getpass.getuser()
    return visible and Path(str(runner["daemon_dir"])).is_dir() and not any(map(_belongs_to(runner), _commands()))


def _belongs_to(runner: Mapping[str, Any]) -> Callable[[Sequence[str]], bool]:
    """Return a test for the command lines of a daemon of the peer: its supervisord's and its processes'."""
    config = str(Path(str(runner["daemon_dir"])) / "supervisord.conf")
    process = {"-p", runner["project_name"], "runner", "run"}
    return lambda command: config in command or process <= set(command)


def _commands() -> Iterator[list[str]]:
    """Yield the command lines of the processes of this machine; what has ended since, or is another's, has none."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.cmdline()
