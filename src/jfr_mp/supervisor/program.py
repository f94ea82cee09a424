"""The program of a master, from ``python -m jfr_mp.supervisor`` to its exit: what its loop needs, made and undone."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from jfr_mp import logs
from jfr_mp.bus.inbox import Inbox
from jfr_mp.bus.paths import MasterFile, RunDir, exclusive, run_dirs, runtime_dir
from jfr_mp.config import ConfigManager, LogLevel
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.news import News
from jfr_mp.embedded import ensure_running
from jfr_mp.errors import AlreadyRunning, ExitCode, JfrMpError
from jfr_mp.identity import ProcessIdentity, new_owner, show_as
from jfr_mp.log_entries import LogOutput
from jfr_mp.logs import LogFormat
from jfr_mp.membership.member import Member
from jfr_mp.membership.records import master_record
from jfr_mp.membership.registry import MasterRegistry
from jfr_mp.model import utcnow
from jfr_mp.notify.sender import notifying
from jfr_mp.states import JobState
from jfr_mp.step_table import Role, wake_states
from jfr_mp.supervisor.command_line import command_line, parse
from jfr_mp.supervisor.continuation import Continuation
from jfr_mp.supervisor.daemon import detach, report_failure, report_up
from jfr_mp.supervisor.fork_server import role_processes
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.logfile import claim_log_dir, log_dir
from jfr_mp.supervisor.master import Master
from jfr_mp.supervisor.metrics import exporting
from jfr_mp.supervisor.open_files import require_open_files
from jfr_mp.supervisor.outside import admitted_keys, open_gate, open_herald
from jfr_mp.supervisor.plan import Plan
from jfr_mp.supervisor.reload import ProjectFile
from jfr_mp.supervisor.service_manager import ServiceManager
from jfr_mp.supervisor.upkeep import allow_early_end

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)


class Shown(NamedTuple):
    """How a master in the foreground shows logs.

    Parameters
    ----------
    log_format
        The format, which determines the stream, too.
    label
        What comes before the names of processes, if the masters of several projects share the stream.
    """

    log_format: LogFormat = LogFormat.TEXT
    label: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run a master; one in the background reports on standard output how its start went."""
    options = parse(arguments)
    show_as("master", options.project)
    if not (options.foreground or options.again):
        detach()
    try:
        return run_master(
            _project(options),
            options.roles,
            log_level=options.log_level,
            shown=Shown(options.log_format, options.label) if options.foreground else None,
            on_up=_log_is_enough if options.foreground else report_up,
        )
    except JfrMpError as error:
        if options.foreground:
            sys.stderr.write(f"{error}\n")
        else:
            report_failure(error)
        return error.exit_code
    except BrokenPipeError:
        # The command that launched this master was interrupted, so the user does not want the master any more.
        return ExitCode.INTERRUPTED


def _project(options: argparse.Namespace) -> Project:
    project = ConfigManager().get_project(options.project)
    return project.overridden(metrics=options.metrics) if options.metrics else project


def _log_is_enough(run_dir: RunDir) -> None:
    """Report nothing."""


def run_master(
    project: Project,
    roles: Mapping[Role, int],
    *,
    log_level: LogLevel,
    shown: Shown | None = None,
    on_up: Callable[[RunDir], None] = _log_is_enough,
) -> ExitCode:
    """Be the master, in the main thread of this process, until it is told to stop.

    Parameters
    ----------
    project
        What to work on.
    roles
        How many processes of each role to keep.
    log_level
        From which level on the master and its role processes log.
    shown
        How a master in the foreground shows its log and the logs of its role processes; None for a daemon.
    on_up
        Called with the directory of the master when it can be reached.

    Raises
    ------
    AlreadyRunning
        If another master on this machine has one of the roles, or another kind of runner works on the database.
    DatabaseError
        If the database cannot be reached or refuses the operation.
    ConfigError
        If a package is missing that the project needs.
    """
    require_open_files()
    if project.jfr_mp.otel is not None:
        project.jfr_mp.otel.require_packages()
    claim_log_dir(project)
    log_format, label = shown or Shown()
    held = _held_before(project, roles) if shown else frozenset()
    begin = Continuation.taken_over() or Continuation(roles=dict(roles), held=held, log_level=log_level)
    logs.configure(begin.log_level.to_logging(), f"{label}master", log_format)
    allow_early_end()
    manager = ServiceManager.from_environment()
    with role_processes(project.name) as processes, occupied(project, begin, processes.server_pid) as (run_dir, owner):
        ensure_running(project)
        with ExitStack() as stack:
            db, member, registry = stack.enter_context(_entered(project, begin.roles, owner))
            processes.wait_ready()
            news = stack.enter_context(Inbox[frozenset[JobState]]())
            # Any role may be added later.
            stack.enter_context(News(db, wake_states(Role), news.put))
            exporter = stack.enter_context(exporting(project))
            project_file = ProjectFile(project)
            stack.enter_context(notifying(lambda: project_file.project, owner))
            plan = Plan(
                begin=begin,
                processes=processes,
                run_dir=run_dir,
                log_dir=log_dir(project),
                policy=Policy(drain=project.jfr_mp.stop_timeout),
                terminal=LogOutput(log_format.stream, log_format, label) if shown else None,
                manager=manager,
                project_file=project_file,
                exporter=exporter,
                gate=stack.enter_context(open_gate(project, owner, lambda: registry.bus_keys, news)),
                news=news,
                tell_others=stack.enter_context(open_herald(project, lambda: registry.elsewhere)),
                stops_on_hangup=shown is not None and sys.stderr.isatty(),
            )
            if begin.held:
                logger.warning("%s held as before: start with `jfr-mp resume`", ", ".join(sorted(begin.held)))
            master = Master(plan, member)
            code = master.run(lambda: on_up(run_dir))
    if master.restarting:
        os.environ.update(manager.variables)
        _begin_again(project, master, foreground=shown is not None)
    return code


def _begin_again(project: Project, master: Master, *, foreground: bool) -> None:
    """Replace this process by a new program with the same pid, which a service manager takes for the same service."""
    master.continuation.hand_over()
    again = [*command_line(project, master.roles, master.log_level), "--again"]
    argv = [sys.executable, *sys.orig_argv[1:]] if foreground else again
    logger.info("beginning again")
    os.execv(argv[0], argv)


@contextmanager
def occupied(project: Project, begin: Continuation, fork_server: int | None = None) -> Iterator[tuple[RunDir, str]]:
    """Take the roles on this machine; yield the directory of the master and its owner id.

    Parameters
    ----------
    project
        What to work on.
    begin
        The roles, and which of them are held.
    fork_server
        The pid of the fork server of this master, if it has one.

    Raises
    ------
    AlreadyRunning
        If a living master on this machine has one of the roles.
    """
    runtime = runtime_dir(project)
    run_dir, owner = RunDir(runtime / str(os.getpid())), new_owner()
    with exclusive(runtime):
        for other in run_dirs(runtime):
            _check_other(other, project, begin.roles)
        process = ProcessIdentity.of_this_process()
        run_dir.create(
            MasterFile(
                **process.model_dump(),
                owner=owner,
                roles=begin.roles,
                held=begin.held,
                project=project.name,
                started=utcnow(),
                fork_server=fork_server,
            )
        )
    try:
        yield run_dir, owner
    finally:
        run_dir.remove()


def _held_before(project: Project, roles: Iterable[Role]) -> frozenset[Role]:
    """Return the roles that a master on this machine held when it was killed: its service stays paused."""
    files = [other.master for other in run_dirs(runtime_dir(project))]
    dead = [master for master in files if master is not None and not master.alive]
    return frozenset(role for master in dead for role in master.held).intersection(roles)


def _check_other(other: RunDir, project: Project, roles: Mapping[Role, int]) -> None:
    """Remove the directory of a dead master; raise `AlreadyRunning` if a living one has a role that is wanted."""
    master = other.master
    if master is None or not master.alive:
        logger.info("removing %s, the directory of a master that died", other.path)
        other.remove()
    elif shared := [role for role in roles if role in master.roles]:
        raise AlreadyRunning(
            f"project {project.name}: a master on this machine (pid {master.pid}, since {master.started:%F %R} UTC) "
            f"already has the roles {', '.join(shared)}. See `jfr-mp status`, or stop it with `jfr-mp stop`"
        )


@contextmanager
def _entered(
    project: Project, roles: Mapping[Role, int], owner: str
) -> Iterator[tuple[QueueDatabase, Member, MasterRegistry]]:
    """Make this process a member of the deployment, with a connection of its own, until the block is left."""
    db = QueueDatabase.connect(project)
    try:
        if project.jfr_mp.bus is not None:
            admitted_keys(project, db)
        registry = MasterRegistry(db, master_record(db, owner, roles))
        member = Member(registry, project.jfr_mp)
        member.enter()
    except BaseException:  # an interrupt too; a member that has entered closes the connection when it leaves
        db.close()
        raise
    try:
        yield db, member, registry
    finally:
        member.leave()
