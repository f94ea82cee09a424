"""One master from its settling on this machine to its leaving: what has to be done, and undone, around its loop."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from jfr_mp import logs
from jfr_mp.bus.paths import MasterFile, RunDir, exclusive, run_dirs, runtime_dir
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.embedded import ensure_running
from jfr_mp.errors import AlreadyRunning, ExitCode
from jfr_mp.identity import new_owner
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import role_command
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.master import Master, Plan
from jfr_mp.supervisor.registrar import Registrar
from jfr_mp.supervisor.registry import DatabaseRegistry

if TYPE_CHECKING:
    from jfr_mp.config import LogLevel, Project

logger = logging.getLogger(__name__)

#: Seconds that the last notes to the database may take when a master stops.
_LAST_NOTES = 10.0


def run_master(
    project: Project,
    roles: Mapping[Role, int],
    *,
    log_level: LogLevel,
    foreground: bool,
    on_up: Callable[[RunDir], None] = lambda run_dir: None,
) -> ExitCode:
    """Be the master, in the main thread of this process, until told to stop.

    Parameters
    ----------
    project
        What to work on.
    roles
        How many processes of each role to keep.
    log_level
        From which level on the master and its role processes log.
    foreground
        Whether the logs of the role processes are shown on standard error too.
    on_up
        Called with the directory of the master when it can be spoken to.

    Raises
    ------
    AlreadyRunning
        If one of the roles is taken on this machine, or the database is in use by another kind of runner.
    DatabaseError
        If the database does not answer or refuses.
    """
    logs.configure(log_level.to_logging(), "master")
    with settled(project, roles) as (run_dir, owner):
        ensure_running(project)
        with _registered(project, roles, owner) as registrar:
            plan = Plan(
                roles=roles,
                command=role_command(project.name),
                run_dir=run_dir,
                log_dir=log_dir(project),
                log_level=log_level,
                policy=Policy(drain=project.jfr_mp.stop_timeout),
                terminal=sys.stderr if foreground else None,
            )
            return Master(plan, registrar).run(lambda: on_up(run_dir))


def log_dir(project: Project) -> Path:
    """Return the directory with the logs of a project's processes."""
    return Path(project.log_dir) / "jfr_mp"


@contextmanager
def settled(project: Project, roles: Mapping[Role, int]) -> Iterator[tuple[RunDir, str]]:
    """Take the roles on this machine; yield the directory of the master and its identity.

    Raises
    ------
    AlreadyRunning
        If a living master on this machine has one of the roles.
    """
    runtime = runtime_dir(project)
    run_dir, owner = RunDir(runtime / str(os.getpid())), new_owner()
    with exclusive(runtime):
        for other in run_dirs(runtime):
            _make_way(other, project, roles)
        run_dir.create(
            MasterFile(
                pid=os.getpid(),
                create_time=psutil.Process().create_time(),
                owner=owner,
                roles=dict(roles),
                project=project.name,
                started=utcnow(),
            )
        )
    try:
        yield run_dir, owner
    finally:
        run_dir.remove()


def _make_way(other: RunDir, project: Project, roles: Mapping[Role, int]) -> None:
    """Remove what a dead master left; refuse where a living one has a role that is wanted."""
    master = other.master
    if master is None or not master.alive:
        logger.info("removing %s, which a master that died has left", other.path)
        other.remove()
    elif shared := [role for role in roles if role in master.roles]:
        raise AlreadyRunning(
            f"project {project.name}: a master on this machine (pid {master.pid}, since {master.started:%F %R} UTC) "
            f"has these roles already: {', '.join(shared)}. `jfr-mp status` shows it, `jfr-mp stop` ends it"
        )


@contextmanager
def _registered(project: Project, roles: Mapping[Role, int], owner: str) -> Iterator[Registrar]:
    db = QueueDatabase.connect(project)
    registry = DatabaseRegistry(db, owner, roles)
    try:
        registry.enter()
    except BaseException:  # an interrupt too; from here on the thread of the registrar closes the connection
        db.close()
        raise
    registrar = Registrar(registry, project.jfr_mp.heartbeat_interval)
    try:
        yield registrar
    finally:
        registrar.close(_LAST_NOTES)
