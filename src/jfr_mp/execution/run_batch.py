"""The batch process: it takes jobs from the pool of its worker and runs several at a time.

It may be killed at any moment, and every job must still run to completion exactly once. Therefore a marker is moved by
renaming it. The processes of a job hold a lock on a file in its run directory, which outlives the batch process and
shows whether the job is still running. A job whose output is complete is not run again, even if it was put back into
the pool.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jfr_mp.batch.markers import ALIVE_FILENAME, BATCH_INFO_FILENAME, HEARTBEAT, Marker
from jfr_mp.execution.batch_limits import BatchLimits
from jfr_mp.execution.pool_directory import PoolDirectory
from jfr_mp.execution.warm.control import warm_environment
from jfr_mp.hosts.local import LocalHost
from jfr_mp.jobdata.files import SUBMIT_SCRIPT, job_path, write_atomically
from jfr_mp.jobdata.outputs import is_complete

logger = logging.getLogger(__name__)

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_HEARD = frozenset({*_STOPPING, signal.SIGCHLD})

#: Seconds to wait before a job counts as ended whose script exited without a complete output. When the scheduler stops
#: a batch, the script of a job may be killed before the batch process is notified; such a job has to run again.
_LAST_WORD = 2.0
#: Seconds between SIGTERM and SIGKILL to the jobs. Schedulers do not allow the batch process much more time.
_GRACE = 1.0
#: Seconds between two attempts to start a job that an earlier batch process left running.
_HELD_DELAY = 10.0


@dataclass
class _Run:
    """A job that occupies a slot; `ended` is the monotonic time at which its script exited."""

    marker: Marker
    run_dir: Path
    process: subprocess.Popen[bytes]
    ended: float | None = None


@dataclass
class _Held:
    """A job that was taken but must wait, because it is still running although an earlier batch process died."""

    marker: Marker
    until: float


@dataclass
class BatchProcess:
    """Run jobs until the limits are reached or a signal asks to stop.

    Parameters
    ----------
    base_run_dir
        The worker's ``work_dir``, which contains the run directories of the jobs.
    pool
        The pool from which jobs are taken.
    limits
        The options.
    info_file
        Where it tells about itself.
    environment
        Variables for the scripts of the jobs, beside those of this process.
    """

    base_run_dir: Path
    pool: PoolDirectory
    limits: BatchLimits
    info_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _start_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    _began: float = field(default_factory=time.monotonic)
    _runs: list[_Run] = field(default_factory=list)
    _held: list[_Held] = field(default_factory=list)
    _taken: int = 0

    def run(self) -> None:
        """Run jobs until the batch ends."""
        with _signals_waited_for():
            try:
                self._run()
            finally:
                # Also after an error, because no other process would supervise the jobs.
                self._end_jobs()
                self._report(end_time=datetime.now(UTC))

    def _run(self) -> None:
        self._begin_again()
        busy, heartbeat = self._began, 0.0
        while True:
            # Before the first job is taken, so that a batch that has jobs also has a heartbeat.
            if time.monotonic() >= heartbeat:
                self._report()
                heartbeat = time.monotonic() + HEARTBEAT
            self._work()
            now = time.monotonic()
            busy = now if self._runs or self._held else busy
            if self._is_over(now, busy):
                return
            if self._wait(min(heartbeat - now, self.limits.look_every)):
                logger.warning("asked to stop; jobs that are running will be run again by another batch")
                return

    def _work(self) -> None:
        try:
            self._judge()
            self._fill()
        except OSError as error:
            # The file system of a cluster may fail temporarily; the markers have not moved.
            logger.error("the pool cannot be used now, retrying: %s", error)

    def _is_over(self, now: float, busy: float) -> bool:
        working = len(self._runs) + len(self._held)
        return self.limits.is_over(now - self._began, self._taken, working, now - busy)

    def _begin_again(self) -> None:
        """Continue with the jobs that this batch had taken before its scheduler requeued it."""
        self._held = [_Held(marker, 0.0) for marker in self.pool.taken()]
        self._taken = len(self._held)

    def _fill(self) -> None:
        """Start jobs in the free slots."""
        now = time.monotonic()
        for held in [held for held in self._held if held.until <= now]:
            if len(self._runs) < self.limits.slots:
                self._held.remove(held)
                self._start(held.marker)
        while len(self._runs) < self.limits.slots and self.limits.takes_jobs(now - self._began, self._taken):
            marker = self.pool.take()
            if marker is None:
                return
            self._taken += 1
            self._start(marker)

    def _start(self, marker: Marker) -> None:
        """Start the script of a job, unless the job is complete or still running."""
        run_dir = Path(job_path(marker.uuid, marker.index, self.base_run_dir))
        name = f"{marker.uuid}_{marker.index}"
        try:
            alive_fd = os.open(run_dir / ALIVE_FILENAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            # The runner finds no output, and the job fails with that reason.
            logger.error("job %s cannot be run: there is no directory %s", name, run_dir)
            self.pool.finish(marker)
            return
        try:
            if not _lock(alive_fd):
                logger.warning("job %s is still running: an earlier batch process left it running", name)
                self._held.append(_Held(marker, time.monotonic() + _HELD_DELAY))
            elif is_complete(LocalHost(), str(run_dir)):
                logger.info("job %s has already run", name)
                self.pool.finish(marker)
            else:
                logger.info("job %s starts", name)
                self._runs.append(_Run(marker, run_dir, _start_script(run_dir, alive_fd, self.environment)))
        finally:
            # From here on only the script holds the lock.
            os.close(alive_fd)

    def _judge(self) -> None:
        """Mark the jobs whose scripts have ended as finished."""
        self._note_ends()
        now = time.monotonic()
        for run in [run for run in self._runs if run.ended is not None]:
            if is_complete(LocalHost(), str(run.run_dir)) or now - (run.ended or now) >= _LAST_WORD:
                logger.info("job %s_%d has ended", run.marker.uuid, run.marker.index)
                self.pool.finish(run.marker)
                self._runs.remove(run)

    def _note_ends(self) -> None:
        for run in self._runs:
            if run.ended is None and _has_ended(run.process):
                run.ended = time.monotonic()

    def _end_jobs(self) -> None:
        """Stop the jobs; the markers of jobs without a complete output stay, and the runner puts them back."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _GRACE
            for run in self._runs:
                if run.ended is None:
                    _signal_group(run.process, number)
            while any(run.ended is None for run in self._runs) and (left := deadline - time.monotonic()) > 0:
                signal.sigtimedwait({signal.SIGCHLD}, left)
                self._note_ends()
        for run in self._runs:
            if is_complete(LocalHost(), str(run.run_dir)):
                self.pool.finish(run.marker)

    def _wait(self, seconds: float) -> bool:
        """Wait for the end of a job or for `seconds`; return whether a signal asks the batch process to stop."""
        if any(run.ended is not None for run in self._runs):
            seconds = min(seconds, 0.1)
        heard = signal.sigtimedwait(_HEARD, max(seconds, 0.0))
        return heard is not None and heard.si_signo in _STOPPING

    def _report(self, end_time: datetime | None = None) -> None:
        """Write the heartbeat of the batch process, or its end, to the info file."""
        age = time.monotonic() - self._began
        info = {"start_time": self._start_time, "last_ping_time": datetime.now(UTC)}
        if end_time:
            info["end_time"] = end_time
        serialized: dict[str, Any] = {key: _serialized(value) for key, value in info.items()}
        # This field is specific to jfr-mp.
        serialized["takes_jobs"] = end_time is None and self.limits.takes_jobs(age, self._taken)
        try:
            write_atomically(self.info_file, json.dumps(serialized).encode())
        except OSError as error:
            # A full disk is no reason to stop the jobs.
            logger.error("%s cannot be written: %s", self.info_file, error)


def run_batch(base_run_dir: str, files_dir: str, batch_uid: str, limits: BatchLimits, *, warm: bool = True) -> None:
    """Run the jobs of a pool in this batch, whose own directory is the working directory.

    Parameters
    ----------
    base_run_dir
        The worker's ``work_dir``.
    files_dir
        The worker's ``jobs_handle_dir``.
    batch_uid
        The identity of this batch.
    limits
        When it takes jobs and when it ends.
    warm
        Whether jobs are forked from a process that has imported jobflow already.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    pool = PoolDirectory(Path(files_dir), batch_uid)
    with ExitStack() as stack:
        environment = stack.enter_context(warm_environment()) if warm else {}
        BatchProcess(Path(base_run_dir), pool, limits, Path.cwd() / BATCH_INFO_FILENAME, environment).run()


@contextmanager
def _signals_waited_for() -> Iterator[None]:
    """Block the signals that `sigtimedwait` waits for, so that no signal interrupts other code or is missed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear_signals() -> None:
    """Unblock, in the process of a job, the signals that `_signals_waited_for` blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _start_script(run_dir: Path, alive_fd: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the script of a job; it and all that it starts hold the lock of the file."""
    return subprocess.Popen(
        ["bash", SUBMIT_SCRIPT],
        cwd=run_dir,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        # Processes that the job leaves behind are found by their group. The session stays that of the batch process,
        # because some schedulers kill by session.
        process_group=0,
        pass_fds=(alive_fd,),
        # This process has only one thread, so it is safe to run code between fork and exec.
        preexec_fn=_hear_signals,  # noqa: PLW1509 - see above
    )


def _lock(fd: int) -> bool:
    """Lock the file of a run directory; return False if a process of an earlier run of the job holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some file systems do not support locks; then only the scheduler can tell that a job is not running.
        logger.info("the file system does not support locks: %s", error)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a script has exited; if so, kill the processes that it left behind."""
    if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return False
    # Before the process is reaped and its pid can be reused.
    _signal_group(process, signal.SIGKILL)
    process.wait()
    return True


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _serialized(time: datetime) -> dict[str, str]:
    """Return a time in monty's serialized form."""
    return {"@module": "datetime", "@class": "datetime", "string": str(time)}
