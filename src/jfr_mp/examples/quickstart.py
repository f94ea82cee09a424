"""The driver of ``scripts/quickstart``: a throwaway project, a database, all roles and one real flow, start to end.

``python -m jfr_mp.examples.quickstart DIRECTORY`` makes everything below that directory and stops all that it started,
whatever happens: the flow ends, an error, Ctrl-C, SIGTERM.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from jfr_mp.errors import JfrMpError, NotRunning
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

#: A flow in one of these moves no more by itself.
OVER = (FlowState.COMPLETED, FlowState.FAILED, FlowState.STOPPED)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The longest time, in ms, to wait for a change before looking whether the master still lives.
LOOK_INTERVAL = 200

#: Seconds that the roles have to finish the step in hand when they are stopped.
STOP_TIMEOUT = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the quickstart.

    Parameters
    ----------
    arguments
        The directory to work in; None takes the command line's.

    Returns
    -------
    int
        0 when the flow is COMPLETED.
    """
    for signum in SIGNALS:
        signal.signal(signum, _leave)
    (directory,) = sys.argv[1:] if arguments is None else arguments
    sandbox = Sandbox(Path(directory))
    console = make_console()
    try:
        with sandbox.locked(), ExitStack() as undo:
            undo.callback(sandbox.end_processes)
            try:
                sandbox.renew()
                return 0 if Quickstart(sandbox, console, undo).run() is FlowState.COMPLETED else 1
            finally:
                # From here on things are stopped, and a second Ctrl-C must not interrupt that.
                _ignore_signals()
    except JfrMpError as error:
        console.print(f"error: {error}", style="bold red", markup=False)
        return int(error.exit_code)
    except SystemExit:
        console.print("Interrupted: everything that was started is stopped.")
        raise


class Quickstart:
    """One run.

    Parameters
    ----------
    sandbox
        Where everything is kept.
    console
        Where everything is shown.
    undo
        Collects how to stop what is started.
    """

    def __init__(self, sandbox: Sandbox, console: Console, undo: ExitStack) -> None:
        self._sandbox = sandbox
        self._console = console
        self._undo = undo
        self._timelines = Timelines()
        self._places: list[tuple[str, Path]] = []

    def run(self) -> FlowState:
        """Run the flow from nothing to its end and show it; return its final state."""
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
        """Show that something takes its time, and how long it took."""
        start = time.monotonic()
        with self._console.status(f"starting {what}"):
            yield
        self._console.print(f"[green]ready[/] {what} ({time.monotonic() - start:.1f} s)")

    def _stop(self, what: str, stop: Callable[[], object]) -> None:
        """Stop something as it likes to be stopped; what does not end that way, the sandbox ends."""
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
            # This Python has ASE, whatever the PATH of a shell says.
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
        """Submit the flow and show each change of its jobs until it is over; return its state then."""
        from jfr_mp import submit_flow

        progress = Progress(self._console)
        # Listening starts before the submission, so that nothing is missed.
        with database.jobs.watch(PIPELINE, max_await_time_ms=LOOK_INTERVAL) as changes, progress.shown():
            submit_flow(flow, worker=WORKER, project=PROJECT)
            while True:
                change = changes.try_next()
                if change is not None:
                    self._record(change, progress)
                elif (state := self._flow_state(flow, database)) in OVER or self._is_stuck():
                    return state
                elif not _is_alive(master):
                    raise NotRunning(f"the master has ended; its log is below {self._sandbox.run / 'project'}")

    def _record(self, change: Mapping[str, Any], progress: Progress) -> None:
        if (job := self._timelines.record(change)) is not None:
            progress.update(job, self._timelines.jobs)

    def _flow_state(self, flow: Flow, database: QueueDatabase) -> FlowState:
        document = database.flows.find_one({"uuid": flow.uuid}, ["state"])
        return FlowState(document["state"]) if document else FlowState.WAITING

    def _is_stuck(self) -> bool:
        """Whether a job waits for a person, which leaves the state of the flow as it is."""
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


def _leave(signum: int, _frame: object) -> NoReturn:
    _ignore_signals()
    raise SystemExit(128 + signum)


def _ignore_signals() -> None:
    for signum in SIGNALS:
        # A function, not SIG_IGN, which the processes that we start would inherit.
        signal.signal(signum, lambda _signum, _frame: None)


if __name__ == "__main__":
    raise SystemExit(main())
