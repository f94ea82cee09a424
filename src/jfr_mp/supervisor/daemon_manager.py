"""`DaemonManager`: jobflow-remote's interface to its daemon, a thin layer over the masters of this machine.

What jobflow-remote calls the daemon is all masters of a project on this machine. There is no supervisord, so a daemon
that was stopped is shut down, and the methods that return supervisord's own objects do not exist.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import run_dirs, runtime_dir
from jfr_mp.config import ConfigManager, LogLevel, Project
from jfr_mp.database import running_runner
from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import AlreadyRunning, JfrMpError, NotFound, NotInitialised, RunnerLockedError
from jfr_mp.identity import host_name
from jfr_mp.step_table import Role
from jfr_mp.supervisor import control
from jfr_mp.supervisor.daemon_status import MASTER, DaemonStatus, processes_of, status_of
from jfr_mp.supervisor.logfile import log_dir

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController

logger = logging.getLogger(__name__)

#: The fields of the record of the running runner that say whether it belongs to this user, machine and project.
_OURS = {
    "hostname": "on another machine",
    "project_name": "for another project",
    "user": "for another user",
    "daemon_dir": "with another project directory",
}
#: Seconds between two looks at processes that start, stop or write logs.
_LOOK_EVERY = 0.2


class DaemonManager:
    """Start, stop and inspect the daemon of a project on this machine.

    Parameters
    ----------
    daemon_dir
        The directory for the configuration of the last start.
    log_dir
        The directory of the project's logs.
    project
        The project.
    job_controller
        The controller of the project; None to open one when it is needed.
    """

    def __init__(
        self,
        daemon_dir: str | Path,
        log_dir: str | Path,
        project: Project,
        job_controller: JobController | None = None,
    ) -> None:
        self.project = project
        self.daemon_dir, self.log_dir = Path(daemon_dir).absolute(), Path(log_dir).absolute()
        self._job_controller = job_controller

    @classmethod
    def from_project(cls, project: Project) -> Self:
        """Return the manager of a project."""
        return cls(project.daemon_dir, project.log_dir, project)

    @classmethod
    def from_project_name(cls, project_name: str | None = None) -> Self:
        """Return the manager of a project; None for the project chosen in the settings."""
        return cls.from_project(ConfigManager().get_project(project_name))

    @property
    def job_controller(self) -> JobController:
        """The controller of the project."""
        if self._job_controller is None:
            from jfr_mp.api.controller import JobController

            self._job_controller = JobController.from_project(self.project)
        return self._job_controller

    @property
    def conf_filepath(self) -> Path:
        """The file with the configuration of the last start."""
        return self.daemon_dir / "jfr_mp_start.json"

    @property
    def pid_filepath(self) -> Path:
        """The file of the master on this machine; it does not exist if no master is running."""
        return self._run_dir / "master.json"

    @property
    def sock_filepath(self) -> Path:
        """The socket of the control bus of the master on this machine; it does not exist if no master is running."""
        return self._run_dir / "control"

    @property
    def log_filepath(self) -> Path:
        """The log of the master."""
        return log_dir(self.project) / "master.log"

    @property
    def _run_dir(self) -> Path:
        living = (each.path for each in run_dirs(runtime_dir(self.project)) if each.master and each.master.alive)
        return next(living, self.daemon_dir)

    def clean_files(self) -> None:
        """Remove what dead masters have left on this machine."""
        control.clean_up(self.project)

    def get_supervisord_pid(self) -> int | None:
        """Return the pid of the master on this machine, or None."""
        return next((master.pid for master in self._masters()), None)

    def check_supervisord_process(self) -> bool:
        """Return whether a master is running on this machine."""
        return bool(self._masters())

    def check_status(self, raise_on_shutdown: bool = True) -> DaemonStatus:
        """Return the state of the daemon.

        Parameters
        ----------
        raise_on_shutdown
            No effect: a daemon that is stopping is STOPPING.
        """
        return status_of(self._masters())

    def get_processes_info(self) -> dict[str, dict[str, Any]] | None:
        """Return what is known of each process by its name, with supervisord's keys; None if nothing is running.

        A name is the group ``runner`` and the role process, such as ``runner:transfer-1``. The master is the process
        ``supervisord``.
        """
        masters = self._masters()
        return processes_of(masters, log_dir(self.project)) if masters else None

    def wait_start(self, timeout: int = 30) -> None:
        """Wait until all processes are RUNNING.

        Raises `JfrMpError` if a process was given up, or not all are RUNNING after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (status := self.check_status()) is not DaemonStatus.RUNNING:
            if status is not DaemonStatus.STARTING or time.monotonic() > deadline:
                raise JfrMpError(f"the processes did not start within {timeout} s: the daemon is {status.value}")
            time.sleep(_LOOK_EVERY)

    def _masters(self) -> list[MasterStatus]:
        return [master for master in control.masters(self.project) if master.local]

    # Starting and stopping

    def start(
        self,
        num_procs_transfer: int = 1,
        num_procs_complete: int = 1,
        single: bool = True,
        log_level: str = "info",
        raise_on_error: bool = False,
        connect_interactive: bool = False,
    ) -> bool:
        """Start all roles on this machine, and wait until their processes are ready.

        Parameters
        ----------
        num_procs_transfer, num_procs_complete
            The numbers of processes; with `single`, one for each role.
        single
            Whether the numbers are ignored.
        log_level
            The log level.
        raise_on_error
            Whether to raise, rather than log an error and return False, if the daemon does not start.
        connect_interactive
            Whether to log in first, in this terminal, to the hosts with an interactive login.

        Returns whether the daemon was started.
        """
        self.write_config(num_procs_transfer, num_procs_complete, single, log_level, False, connect_interactive)
        return self._done(self._start, raise_on_error)

    def start_processes(self) -> str | None:
        """Start the daemon with the configuration of the last start; return the error if it did not start."""
        return self._error(self._start)

    def start_supervisord(
        self,
        num_procs_transfer: int = 1,
        num_procs_complete: int = 1,
        single: bool = True,
        log_level: str = "info",
        nodaemon: bool = False,
        connect_interactive: bool = False,
    ) -> str | None:
        """Start the daemon; return the error if it did not start. Parameters as for `start`.

        Parameters
        ----------
        nodaemon
            Whether this process, in its main thread, is the master until it is stopped.
        """
        self.write_config(num_procs_transfer, num_procs_complete, single, log_level, nodaemon, connect_interactive)
        return self._error(self._start)

    def stop(self, wait: bool = False, raise_on_error: bool = False) -> bool:
        """Stop the daemon after the current steps; it is shut down afterwards.

        Parameters
        ----------
        wait
            Whether to wait until it has stopped.
        raise_on_error
            Whether to raise, rather than log an error and return False, if it cannot be stopped.

        Returns
        -------
        bool
            Whether it was stopped; False if it was not running.
        """
        work = control.stop if wait else control.request_stop
        return self._done(lambda: work(self.project), raise_on_error)

    def shut_down(self, raise_on_error: bool = False, wait: bool = False) -> bool:
        """Stop the daemon as `stop` does; return True also if it was not running."""
        return self.stop(wait, raise_on_error) if self.check_supervisord_process() else True

    def kill(self, raise_on_error: bool = False, wait: bool = False) -> bool:
        """Kill the processes of the daemon; parameters and result as for `stop`."""
        return self._done(lambda: control.kill(self.project), raise_on_error)

    def restart(self, raise_on_error: bool = False) -> bool:
        """Stop the daemon and start it with the configuration of the last start; return whether that was done."""
        return self.stop(wait=True, raise_on_error=raise_on_error) and self._done(self._start, raise_on_error)

    def write_config(
        self,
        num_procs_transfer: int = 1,
        num_procs_complete: int = 1,
        single: bool = True,
        log_level: str = "info",
        nodaemon: bool = False,
        connect_interactive: bool = False,
    ) -> None:
        """Store the configuration for `start_processes` and `restart`; parameters as for `start_supervisord`."""
        given = {name: value for name, value in locals().items() if name != "self"}
        self.daemon_dir.mkdir(parents=True, exist_ok=True)
        self.conf_filepath.write_text(json.dumps(given))

    def parse_config_file(self) -> dict[str, Any]:
        """Return the configuration of the last start, or the defaults."""
        defaults = {"num_procs_transfer": 1, "num_procs_complete": 1, "single": True, "log_level": "info"}
        found: dict[str, Any] = {**defaults, "nodaemon": False, "connect_interactive": False}
        with suppress(OSError, ValueError):
            found |= json.loads(self.conf_filepath.read_text())
        return found

    def _start(self) -> None:
        config = self.parse_config_file()
        if config["connect_interactive"]:
            from jfr_mp.api.interactive import log_in_everywhere

            log_in_everywhere(self.project)
        roles = dict.fromkeys(Role, 1)
        if not config["single"]:
            roles[Role.TRANSFER], roles[Role.COMPLETE] = config["num_procs_transfer"], config["num_procs_complete"]
        level = LogLevel(getattr(config["log_level"], "value", config["log_level"]))
        control.start(self.project, roles, log_level=level, foreground=config["nodaemon"])

    def _done(self, work: Callable[[], object], raise_on_error: bool) -> bool:
        error = None if raise_on_error else self._error(work)
        if raise_on_error:
            work()
        elif error:
            logger.error("%s", error)
        return error is None

    @staticmethod
    def _error(work: Callable[[], object]) -> str | None:
        try:
            work()
        except JfrMpError as error:
            return str(error)
        return None

    def foreground_processes(
        self, processes_names: list[str] | None = None, print_function: Callable[..., object] | None = None
    ) -> None:
        """Follow the logs of some processes, one after the other; parameters as for `foreground_process`.

        Parameters
        ----------
        processes_names
            The names; None for all role processes.
        """
        known = self.get_processes_info() or {}
        for name in processes_names or [name for name in known if not name.startswith(MASTER)]:
            self.foreground_process(name, print_function)

    def foreground_process(self, name: str, print_function: Callable[..., object] | None = None) -> None:
        """Follow the log of a process until Ctrl-C or its end; it reads nothing from the terminal.

        Parameters
        ----------
        name
            A name of `get_processes_info`.
        print_function
            Called with each line; None for `print`.

        Raises
        ------
        NotFound
            There is no such process.
        """
        known = self.get_processes_info() or {}
        if name not in known or "logfile" not in known[name]:
            raise NotFound(f"there is no process {name!r}; known: {', '.join(known) or 'none, nothing is running'}")
        show = print_function or print
        with suppress(KeyboardInterrupt), Path(known[name]["logfile"]).open(encoding="utf-8", errors="replace") as log:
            log.seek(0, os.SEEK_END)
            show(f"following the log of {name}; leave it with Ctrl-C")
            while self.check_supervisord_process():
                for line in log:
                    show(line.rstrip("\n"))
                time.sleep(_LOOK_EVERY)

    # The record of the running runner

    @contextmanager
    def lock_runner_doc(self, allow_missing: bool = False) -> Iterator[MongoLock]:
        """Lock the record of the running runner, and yield the lock.

        Parameters
        ----------
        allow_missing
            Whether a database without such a record is no error.

        Raises
        ------
        RunnerLockedError
            Another process has locked it.
        NotInitialised
            There is no record.
        """
        with self.job_controller.lock_auxiliary(filter=dict(running_runner.RECORD), get_locked_doc=True) as lock:
            if lock.unavailable_document:
                raise RunnerLockedError.from_runner_doc(lock.unavailable_document)
            if lock.locked_document is None and not allow_missing:
                raise NotInitialised("the database has no record of the running runner; run `jfr-mp admin upgrade`")
            yield lock

    def check_matching_runner(self, raise_on_error: bool = False, allow_missing: bool = False) -> str | None:
        """Return why the running runner on record does not belong to this machine, user and project.

        Parameters
        ----------
        raise_on_error
            Whether to raise instead.
        allow_missing
            As for `lock_runner_doc`.

        Returns
        -------
        str or None
            The reason; None if no runner is on record, or it belongs here.

        Raises
        ------
        AlreadyRunning
            It does not belong here.
        """
        with self.lock_runner_doc(allow_missing) as lock:
            runner = (lock.locked_document or {}).get("running_runner") or {}
        here = {
            "hostname": host_name(),
            "project_name": self.project.name,
            "user": getpass.getuser(),
            "daemon_dir": str(self.project.daemon_dir),
        }
        # Masters of jfr-mp name a directory below.
        found = {key: str(runner[key]).removesuffix("/jfr_mp") for key in _OURS if key in runner}
        wrong = [f"{_OURS[key]} ({value})" for key, value in found.items() if value != here[key]]
        if not wrong:
            return None
        message = f"a runner is already working on this database: {', '.join(wrong)}"
        if raise_on_error:
            raise AlreadyRunning(message)
        return message
