"""The driver of ``scripts/quickstart``: it runs a real flow with a temporary project, a database and all roles.

``python -m jfr_mp.examples.quickstart DIRECTORY`` creates all files in that directory. It stops everything that it
started when the flow has ended, and also after an error, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from jfr_mp.errors import ConfigError, JfrMpError, NotRunning
from jfr_mp.examples.display import Progress, make_console, places_text, result_text, times_table
from jfr_mp.examples.sandbox import Sandbox
from jfr_mp.examples.timeline import PIPELINE, Timelines
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jobflow import Flow
    from rich.console import Console

    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase

PROJECT = "quickstart"
WORKER = "local"
METAL = "Cu"

#: A flow in one of these states does not change any more by itself.
OVER = (FlowState.COMPLETED, FlowState.FAILED, FlowState.STOPPED)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The longest time, in ms, to wait for a change before checking whether the master is still running.
LOOK_INTERVAL = 200

#: Seconds that the roles have to finish their current step when they are stopped.
STOP_TIMEOUT = 10.0


def require_packages() -> None:
    """Check that the packages of the example are installed, before anything is started.

    Raises
    ------
    ConfigError
        One is missing.
    """
    missing = [name for name in ("ase", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the example needs {' and '.join(missing)}: install the extra `eos`, as with `pip install '.[eos]'` in a "
            "checkout of jfr-mp"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the quickstart.

    Parameters
    ----------
    arguments
        The directory to work in; None to take it from the command line.

    Returns
    -------
    int
        0 when the flow is COMPLETED.
    """
    leave_on_signals()
    (directory,) = sys.argv[1:] if arguments is None else arguments
    sandbox = Sandbox(Path(directory))
    console = make_console()
    try:
        require_packages()
        with sandbox.locked(), ExitStack() as undo:
            undo.callback(sandbox.end_processes)
            try:
                sandbox.renew()
                return 0 if Quickstart(sandbox, console, undo).run() is FlowState.COMPLETED else 1
            finally:
                # From here on processes are stopped, which a second Ctrl-C must not interrupt.
                _ignore_signals()
    except JfrMpError as error:
        console.print(f"error: {error}", style="bold red", markup=False)
        return int(error.exit_code)
    except (SystemExit, RuntimeError) as error:
        # What is raised while a class is being made comes as the cause of a RuntimeError.
        end = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(end, SystemExit):
            raise
        console.print("Interrupted. All processes have been stopped.")
        raise end from None


class Quickstart:
    """One run of the quickstart.

    Parameters
    ----------
    sandbox
        The directory of the run.
    console
        The console to write to.
    undo
        Collects the functions that stop what was started.
    """

    def __init__(self, sandbox: Sandbox, console: Console, undo: ExitStack) -> None:
        self._sandbox = sandbox
        self._console = console
        self._undo = undo
        self._timelines = Timelines()
        self._places: list[tuple[str, Path]] = []

    def run(self) -> FlowState:
        """Start everything, run the flow, show its progress and its result, and return its final state."""
        from jfr_mp.database.connection import QueueDatabase

        with self._doing("a project and a MongoDB of its own"):
            project = self._make_project()
        with self._doing("the master and its role processes"):
            master = self._start_master(project)
        database = QueueDatabase.connect(project)
        self._undo.callback(database.close)
        with self._doing("the flow"):
            from jfr_mp.examples.eos import equation_of_state

            flow = equation_of_state(METAL)
        state = self._follow(flow, database, master)
        self._console.print(times_table(self._timelines.jobs))
        if state is FlowState.COMPLETED:
            self._show_result(project, flow)
        else:
            self._show_errors(state, database)
        self._show_places(project)
        return state

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Show a spinner while something starts, and afterwards how long it took."""
        start = time.monotonic()
        with self._console.status(f"starting {what}"):
            yield
        self._console.print(f"[green]ready[/] {what} ({time.monotonic() - start:.1f} s)")

    def _stop(self, what: str, stop: Callable[[], object]) -> None:
        """Stop something in the regular way; the sandbox kills it later if that fails."""
        try:
            stop()
        except NotRunning:
            pass
        except JfrMpError as error:
            self._console.print(f"stopping {what}: {error}", markup=False)

    def _make_project(self) -> Project:
        from jfr_mp import embedded
        from jfr_mp.config import ConfigManager, EmbeddedDb, Project

        run = self._sandbox.run
        stores = embedded.create(run / "mongodb")
        server = embedded.EmbeddedMongo(EmbeddedDb(**stores.embedded_db))
        self._undo.callback(self._stop, "the database", server.stop)
        worker = {
            "type": "local",
            "scheduler_type": "shell",
            "work_dir": str(run / "jobs"),
            # ASE is installed for this Python, which need not be first on PATH.
            "execution_cmd": f"{shlex.quote(sys.executable)} -m jfr_mp -fe execution run {{}}",
        }
        project = {
            "name": PROJECT,
            "base_dir": str(run / "project"),
            "workers": {WORKER: worker},
            "queue": {"store": stores.queue_store},
            "jobstore": stores.jobstore,
            "metadata": {"jfr_mp": {"embedded_db": stores.embedded_db, "stop_timeout": STOP_TIMEOUT}},
        }
        (run / "jobs").mkdir()
        manager = ConfigManager()
        manager.create_project(Project.model_validate(project))
        return manager.get_project(PROJECT)

    def _start_master(self, project: Project) -> psutil.Process:
        from jfr_mp.config import LogLevel
        from jfr_mp.supervisor import control

        self._undo.callback(self._stop, "the master", lambda: control.stop(project))
        info = control.start(project, dict.fromkeys(Role, 1), log_level=LogLevel.INFO, foreground=False, timeout=60.0)
        return psutil.Process(info.pid)

    def _follow(self, flow: Flow, database: QueueDatabase, master: psutil.Process) -> FlowState:
        """Submit the flow, show each change of its jobs until it ends, and return its final state."""
        from jfr_mp import submit_flow

        progress = Progress(self._console)
        # The change stream is opened before the submission, so that no change is missed.
        with database.jobs.watch(PIPELINE, max_await_time_ms=LOOK_INTERVAL) as changes, progress.shown():
            submit_flow(flow, worker=WORKER, project=PROJECT)
            while True:
                change = changes.try_next()
                if change is not None:
                    self._record(change, progress)
                elif (state := self._flow_state(flow, database)) in OVER or self._is_stuck():
                    return state
                elif not _is_alive(master):
                    raise NotRunning(f"the master has exited; see its log in {self._sandbox.run / 'project'}")

    def _record(self, change: Mapping[str, Any], progress: Progress) -> None:
        if (job := self._timelines.record(change)) is not None:
            progress.update(job, self._timelines.jobs)

    def _flow_state(self, flow: Flow, database: QueueDatabase) -> FlowState:
        document = database.flows.find_one({"uuid": flow.uuid}, ["state"])
        return FlowState(document["state"]) if document else FlowState.WAITING

    def _is_stuck(self) -> bool:
        """Return whether a job is in REMOTE_ERROR, which does not change the state of the flow."""
        return any(job.state is JobState.REMOTE_ERROR for job in self._timelines.jobs)

    def _show_result(self, project: Project, flow: Flow) -> None:
        with project.get_jobstore() as jobstore:
            fitted = jobstore.get_output(flow.jobs[0].uuid)
        plot = self._sandbox.home / f"equation-of-state-{METAL}.png"
        shutil.copyfile(fitted["plot"], plot)
        self._places.append(("plot", plot))
        self._console.print(result_text(fitted))

    def _show_errors(self, state: FlowState, database: QueueDatabase) -> None:
        self._console.print(f"the flow is {state.value}", style="bold red")
        query = {"state": {"$in": [JobState.FAILED.value, JobState.REMOTE_ERROR.value]}}
        for job in database.jobs.find(query, ["db_id", "state", "error", "remote.error"]):
            reason = job["error"] or job["remote"]["error"]
            self._console.print(f"job {job['db_id']} is {job['state']}: {reason}", markup=False)

    def _show_places(self, project: Project) -> None:
        run = self._sandbox.run
        self._places += [
            ("project file", self._sandbox.projects / f"{PROJECT}.yaml"),
            ("database", run / "mongodb"),
            ("logs", Path(project.log_dir) / "jfr_mp"),
            ("run directories of the jobs", run / "jobs"),
        ]
        self._console.print(places_text(self._places), soft_wrap=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leave_on_signals() -> None:
    """Have the signals that end a program raise SystemExit."""
    sys.unraisablehook = _raise_again
    for signum in SIGNALS:
        signal.signal(signum, _leave)


def _leave(signum: int, _frame: object) -> NoReturn:
    _ignore_signals()
    raise SystemExit(128 + signum)


def _raise_again(ignored: sys.UnraisableHookArgs) -> None:
    """Raise a SystemExit once more that came within a callback, such as that of a weak reference, which ignores it."""
    end = ignored.exc_value
    if not isinstance(end, SystemExit):
        sys.__unraisablehook__(ignored)
        return

    def leave(_signum: int, _frame: object) -> NoReturn:
        raise SystemExit(end.code)

    signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def _ignore_signals() -> None:
    for signum in SIGNALS:
        # A function instead of SIG_IGN, which child processes would inherit.
        signal.signal(signum, lambda _signum, _frame: None)


if __name__ == "__main__":
    raise SystemExit(main())
