"""A directory for a temporary run, and a guarantee that none of its processes outlives it."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from jfr_mp.errors import AlreadyRunning

#: The environment variable that identifies the processes of a run; pids may be reused, and names are not unique.
MARK = "JFR_MP_QUICKSTART"

#: Seconds between SIGTERM and SIGKILL.
GRACE = 10.0

#: The number of consecutive searches without a process: a process may start another one during a search.
EMPTY_LOOKS = 2


class Sandbox:
    """The files and processes of one quickstart.

    Parameters
    ----------
    home
        The directory of the quickstart. ``run/`` in it is deleted and created again each time, ``cache/`` is kept.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.run = self.home / "run"
        self.projects = self.run / "projects"
        self.token = ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Prevent a second quickstart in this directory.

        Raises
        ------
        AlreadyRunning
            Another quickstart is running in this directory.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AlreadyRunning(f"another quickstart is running in {self.home}; wait for it or stop it") from None
            yield

    def renew(self) -> None:
        """Stop the processes and delete the files of a killed run, and set the environment of this process."""
        token_file = self.run / "token"
        with suppress(FileNotFoundError):
            self.token = token_file.read_text()
            self.end_processes()
        shutil.rmtree(self.run, ignore_errors=True)
        self.projects.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        token_file.write_text(self.token)
        self._enter_environment()

    def _enter_environment(self) -> None:
        """Hide the settings of the user from this process and its children."""
        for name in [name for name in os.environ if name.startswith(("JFREMOTE_", "JOBFLOW_"))]:
            del os.environ[name]
        os.environ |= {
            MARK: self.token,
            "JFREMOTE_PROJECTS_FOLDER": str(self.projects),
            "JFREMOTE_CONFIG_FILE": str(self.run / "no-settings.yaml"),
            "JOBFLOW_CONFIG_FILE": str(self.run / "no-settings.yaml"),
            # matplotlib keeps its list of fonts here, which takes seconds to build.
            "MPLCONFIGDIR": str(self.home / "cache" / "matplotlib"),
        }

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of this run, except the calling one."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        # The environment of other users' processes is not readable, and exited processes have none.
        with suppress(psutil.Error, OSError):
            return process.environ().get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE
        return False

    def end_processes(self) -> None:
        """Stop all processes of this run by SIGTERM, then by SIGKILL; return when none is left."""
        deadline = time.monotonic() + GRACE
        told: set[psutil.Process] = set()
        empty_looks = 0
        while empty_looks < EMPTY_LOOKS:
            living = self.processes()
            empty_looks = 0 if living else empty_looks + 1
            for process in living:
                with suppress(psutil.NoSuchProcess):
                    if time.monotonic() > deadline:
                        process.kill()
                    elif process not in told:
                        process.terminate()
                        told.add(process)
            psutil.wait_procs(living, timeout=0.1)
            if not living:
                time.sleep(0.05)
