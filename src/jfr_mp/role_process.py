"""A role process: the program that a master starts for each of its roles."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from jfr_mp import logs
from jfr_mp.bus.client import RoleBus
from jfr_mp.bus.lifeline import Lifeline
from jfr_mp.bus.paths import warm_path
from jfr_mp.config import ConfigManager, LogLevel, Project
from jfr_mp.config.fingerprint import fingerprint
from jfr_mp.config.kept import KeptProject
from jfr_mp.config.options import JfrMpOptions
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.output_files import OutputFiles
from jfr_mp.database.processes import Report
from jfr_mp.database.queries import store_name_of
from jfr_mp.engine.lane_plan import Engine, open_lanes
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.traces import open_traces
from jfr_mp.errors import ConfigError, DatabaseUnavailable, ExitCode, JfrMpError
from jfr_mp.execution.warm.control import retire
from jfr_mp.identity import new_owner, show_as
from jfr_mp.jobdata.transfer_stores import parts_of
from jfr_mp.membership.member import Member
from jfr_mp.model import Condition, build_models
from jfr_mp.places import Places
from jfr_mp.step_table import ROLES, STEPS, Role, wake_states
from jfr_mp.steps.services import Services

#: Not __name__, which is __main__ in a role process.
logger = logging.getLogger("jfr_mp.role_process")

#: The projects that the fork server has read for the role processes, by name.
_kept: dict[str, KeptProject] = {}


def main(arguments: list[str] | None = None) -> int:
    """Play one role until the master stops this process, or has died."""
    # Ctrl-C on a terminal may reach this process as well; only the master decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = _parse(arguments)
    show_as(options.name, options.project)
    logs.configure(LogLevel(options.log_level).to_logging(), options.name)
    try:
        _run(options)
    except JfrMpError as error:
        logger.error("%s", error)
        return error.exit_code
    return ExitCode.OK


def rehearse(project: str) -> None:
    """Do what every role process does at its start, as far as it needs no connection.

    The fork server calls this before it forks the first of them. They share what this leaves in memory, such as modules
    that are imported late and the validators of pydantic.
    """
    for step in STEPS:
        step.load()
    build_models()
    with suppress(JfrMpError):  # the role processes report it
        _kept[project] = KeptProject.read(project)
        read = _kept[project].project
        fingerprint(read)
        if any(type(part).__name__ == "S3Store" for part in parts_of(read.get_jobstore())):
            import_module("boto3")
        if not all(worker.is_local for worker in read.workers.values()):
            import_module("jfr_mp.hosts.ssh_hosts")


def _run(options: argparse.Namespace) -> None:
    owner = new_owner()
    role = Role(options.role)
    bus = RoleBus.connect(Path(options.run_dir), options.name, role, owner, wake_on=wake_states((role,)))
    bus.on_log_level = lambda level: logs.set_level(LogLevel(level).to_logging())
    signal.signal(signal.SIGTERM, lambda _signum, _frame: bus.request_stop())
    with Lifeline(options.lifeline_fd, bus.request_stop, grace=JfrMpOptions().stop_timeout) as lifeline:
        project = _readable(options.project, bus)
        if project is not None:
            lifeline.grace = project.jfr_mp.stop_timeout
            play(role, project, owner, bus, options.name)
    bus.close()


def _readable(name: str, bus: RoleBus) -> Project | None:
    """Return the project, however long its file is broken; return None if a stop is requested meanwhile.

    The master has read a good file before. This process replaces one that died or was asked to, and the user may be
    editing the file.
    """
    complaint = ""
    while not bus.stop_requested:
        try:
            return kept.current() if (kept := _kept.get(name)) else ConfigManager().get_project(name)
        except ConfigError as error:
            if complaint != (complaint := str(error)):
                logger.warning("waiting for a project file that can be used: %s", error)
            bus.report(Condition(state="STARTING", last_error=f"waiting for a project file that can be used: {error}"))
            bus.wait(1.0)
    return None


def play(role: Role, project: Project, owner: str, bus: RoleBus, name: str) -> None:
    """Play a role on a connected bus."""
    db = _connected(project, bus)
    if db is None:
        return
    places = Places(project)
    places.prepare()
    traces = open_traces(project, name)
    with Member.role_process(db, owner, name, (role,), places.seen(), has_master=True) as member:
        services = Services(project, partial(store_name_of, db), member.holds_since, OutputFiles(db), bus.measurements)
        member.reports(lambda: Report(steps=services.in_hand.all(), places=services.places.seen()))
        if ROLES[role].uses_jobstores:
            services.jobstores.warm_up()
        lanes = Lanes(bus)
        open_lanes(lanes, (role,), Engine(db, services, owner, traces=traces), _give_up)
        bus.report(Condition())
        logger.info("ready")
        lanes.run()
        logger.info("stopping")
        if role is Role.QUEUE:
            # The warm servers that its jobs have started have nothing to wait for any more.
            retire(warm_path(project))
        services.close()
    traces.close()
    db.close()


def _give_up() -> None:
    """Exit at once, because a step hangs; the master evicts this process and starts another one."""
    logger.error("exiting, so that the master replaces this process")
    logging.shutdown()
    os._exit(ExitCode.STEP_HUNG)


def _connected(project: Project, bus: RoleBus) -> QueueDatabase | None:
    """Connect to the queue database, however long it is down; return None if a stop is requested meanwhile."""
    while not bus.stop_requested:
        try:
            return QueueDatabase.connect(project)
        except DatabaseUnavailable as error:
            logger.warning("waiting for the database: %s", error)
            bus.report(Condition(state="STARTING", last_error=str(error)))
            bus.wait(1.0)
    return None


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="jfr_mp.role_process", description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--role", required=True, choices=[role.value for role in Role])
    parser.add_argument("--name", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--lifeline-fd", type=int, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
