"""jobflow-remote's daemon and jfr-mp's masters on one database: at most one of the two kinds works at a time.

jobflow-remote's daemon starts if the document of the running runner is empty, or agrees with itself in host name,
project, user and daemon_dir. A document of jfr-mp never agrees, because it names a daemon_dir of its own. Its key
`jfr_mp` tells it from one of jobflow-remote and lists the masters; the last one to leave empties the document.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from jfr_mp.database import processes, running_runner
from jfr_mp.errors import AlreadyRunning, JfrMpError
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.connection import Doc, QueueDatabase
    from jfr_mp.database.processes import ProcessRecord


def admit(db: QueueDatabase, master: ProcessRecord) -> None:
    """Register a master, and enter it in the document of the running runner.

    Raises
    ------
    AlreadyRunning
        If jobflow-remote's daemon runs, or may run, on this database, or if masters of another project do.
    RunnerLockedError
        If another process keeps the document locked.
    """
    # The registry comes first: a master that leaves now would otherwise take this one for dead and empty the document.
    processes.register(db, master)
    try:
        _enter_document(db, master.id)
    except JfrMpError:
        processes.unregister(db, master.id)
        raise


def _enter_document(db: QueueDatabase, owner: str) -> None:
    with running_runner.locked(db, owner) as document:
        runner = document.content
        masters = _living_masters(db, runner)
        if runner and not is_of_jfr_mp(runner):
            _refuse_if_alive(runner)
        if masters and runner and runner["project_name"] != db.project.name:
            raise AlreadyRunning(
                f"jfr-mp runs project {runner['project_name']} on this database ({_whereabouts(runner)}): stop it "
                "there, or give this project a database of its own"
            )
        info = dict(runner) if masters and runner else describe(db.project)
        info["jfr_mp"] = {"masters": [*(name for name in masters if name != owner), owner]}
        document.write(info)


def withdraw(db: QueueDatabase, owner: str) -> None:
    """Remove a master from the document, which is emptied if no living one is left."""
    with running_runner.locked(db, owner) as document:
        runner = document.content
        if runner and is_of_jfr_mp(runner):
            left = [name for name in _living_masters(db, runner) if name != owner]
            document.write({**runner, "jfr_mp": {"masters": left}} if left else None)


def ping(db: QueueDatabase, master: ProcessRecord) -> None:
    """Note that a master is alive, with all the fields that jobflow-remote's ``jf runner info`` reads."""
    info = describe(db.project)
    data = {
        "daemon_id": master.id,
        "runner_id": master.id,
        "run_options": {role.value: role.value in master.roles for role in Role},
        **{key: info[key] for key in ("project_name", "hostname", "user", "daemon_dir")},
    }
    running_runner.ping(db, data)


def describe(project: Project) -> Doc:
    """Describe this machine as jobflow-remote's daemon describes its own."""
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


def is_of_jfr_mp(runner: Mapping[str, Any]) -> bool:
    """Return whether a document was written by masters of jfr-mp, rather than by jobflow-remote's daemon."""
    return "jfr_mp" in runner


def is_provably_dead(runner: Mapping[str, Any]) -> bool:
    """Return whether jobflow-remote's daemon of a document has certainly exited.

    That is certain only if it ran on this machine, as this user, in a directory that is still there, and no process
    of it is left. Its pids do not tell: supervisord restarts its processes under new ones, and they survive it when it
    is killed. Neither does the host name alone, which clones and containers share.
    """
    visible = runner["hostname"] == socket.gethostname() and runner["user"] == getpass.getuser()
    visible = visible and runner.get("mac_address") in {None, *_link_addresses()}
    return visible and Path(str(runner["daemon_dir"])).is_dir() and not any(map(_belongs_to(runner), _command_lines()))


def _living_masters(db: QueueDatabase, runner: Mapping[str, Any] | None) -> list[str]:
    """Return the masters of a document that are alive; one that was killed could not remove itself."""
    if not runner or not is_of_jfr_mp(runner):
        return []
    alive = {record.id for record in processes.living(db, db.project.jfr_mp.lease_ttl)}
    return [name for name in runner["jfr_mp"]["masters"] if name in alive]


def _refuse_if_alive(runner: Mapping[str, Any]) -> None:
    if not is_provably_dead(runner):
        raise AlreadyRunning(
            f"a daemon of jobflow-remote runs on this database: {_whereabouts(runner)}. Stop it there with "
            "`jf runner stop`; if it has died, clear its entry with `jf runner reset`"
        )


def _whereabouts(runner: Mapping[str, Any]) -> str:
    return f"host {runner['hostname']}, user {runner['user']}, since {runner['start_time']} UTC"


def _link_addresses() -> set[str]:
    """Return the hardware addresses of this machine's network interfaces."""
    every = (address for addresses in psutil.net_if_addrs().values() for address in addresses)
    return {address.address for address in every if address.family == psutil.AF_LINK}


def _belongs_to(runner: Mapping[str, Any]) -> Callable[[Sequence[str]], bool]:
    """Return a test for the command lines of a daemon of jobflow-remote: its supervisord's and its processes'."""
    config = str(Path(str(runner["daemon_dir"])) / "supervisord.conf")
    process = {"-p", runner["project_name"], "runner", "run"}
    return lambda command: config in command or process <= set(command)


def _command_lines() -> Iterator[list[str]]:
    """Yield the command lines of the processes of this machine, except processes that exit meanwhile or are hidden."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.cmdline()
