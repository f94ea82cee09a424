"""The projects that a server shows: their connections, opened when they are first used."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jfr_mp.api.controller import JobController
from jfr_mp.config import ConfigManager
from jfr_mp.database import overview, processes
from jfr_mp.database.connection import PERSON_TIMEOUT, QueueDatabase
from jfr_mp.errors import NotFound
from jfr_mp.gui.audit import Audit
from jfr_mp.gui.hub import Hub
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.overview import EndedJobs, FlowMember
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.model import JobInfo

T = TypeVar("T")

#: A value that took so many seconds is kept for this many times as long, for all pages together.
_KEPT_FOR = 20.0
#: The least and the most time for which a value is kept while jobs change.
_LEAST, _MOST = 0.5, 4.0
#: The time for which a value is kept if nothing has happened since.
_QUIET = 10.0
#: The longest time for which the numbers of a month are kept.
_MOST_ENDS = 60.0
#: How many values are kept.
_MOST_KEPT = 50
#: How many late jobs are shown.
_SHOWN = 8
_LATE = timedelta(minutes=30)


@dataclass(frozen=True)
class Kept:
    """A value for all pages.

    Parameters
    ----------
    value
        The value.
    version
        The number of events when it was read.
    until, quiet_until
        The times at which it is read again: if something has happened since, and if nothing has.
    """

    value: Any
    version: int
    until: float
    quiet_until: float


class OpenProject:
    """A project and what all of its pages share.

    Parameters
    ----------
    project
        The project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.controller = JobController(QueueDatabase.connect(project, timeout=PERSON_TIMEOUT))
        self.hub = Hub(self.db)
        self.host_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._kept: dict[str, Kept] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def db(self) -> QueueDatabase:
        """The queue database."""
        return self.controller.db

    @cached_property
    def audit(self) -> Audit:
        """The audit log."""
        return Audit(gui_dir(self.project))

    def counts(self) -> dict[str, dict[JobState, int]]:
        """Return the number of jobs by worker and state."""
        return self._shared("counts", lambda: overview.counts_by_worker(self.db))

    def ends(self, span: timedelta, seconds: int) -> dict[int, EndedJobs]:
        """Return the jobs that have ended by part of a time span."""
        since = datetime.now(UTC) - span
        return self._shared(f"ends {seconds}", lambda: overview.ends_since(self.db, since, seconds), _MOST_ENDS)

    def processes(self) -> list[ProcessRecord]:
        """Return the masters and role processes that are running."""
        return self._shared("processes", lambda: processes.living(self.db, self.project.jfr_mp.lease_ttl))

    def late_jobs(self) -> list[JobInfo]:
        """Return jobs that have not moved for longer than usual although jfr-mp should move them."""
        return self._shared("late", lambda: overview.late_jobs(self.db, _LATE, _SHOWN))

    def close(self) -> None:
        """Close the connections."""
        self.hub.stop()
        self.controller.close()

    def members(self, flow_id: str) -> list[FlowMember]:
        """Return the jobs of a flow."""
        return self._shared(f"flow {flow_id}", lambda: overview.members_of_flow(self.db, flow_id))

    def _shared(self, name: str, ask: Callable[[], T], most: float = _MOST) -> T:
        """Return a value that is asked for once for all pages, and kept the longer the more it has cost."""
        with self._locks[name]:
            kept = self._kept.get(name)
            begin = time.monotonic()
            if kept is None or begin >= (kept.quiet_until if kept.version == self.hub.version else kept.until):
                version, value = self.hub.version, ask()
                end = time.monotonic()
                until = end + min(max(_LEAST, _KEPT_FOR * (end - begin)), most)
                kept = self._kept[name] = Kept(value, version, until, max(until, end + _QUIET))
                self._forget()
            found: T = kept.value
            return found

    def _forget(self) -> None:
        """Forget the oldest value if there are many, such as those of flows."""
        while len(self._kept) > _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)), None)


class OpenProjects:
    """All projects of the user.

    Parameters
    ----------
    default
        The project that is shown first.
    """

    def __init__(self, default: Project) -> None:
        self.default = default
        self._opened: dict[str, OpenProject] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of the projects."""
        found, _ = ConfigManager().project_names_from_files(suppress_warnings=True)
        return sorted({*found, self.default.name})

    def open(self, name: str) -> OpenProject:
        """Return a project, connected.

        Raises
        ------
        NotFound
            There is no such project.
        DatabaseError
            Its database cannot be used.
        """
        with self._lock:
            if name not in self._opened:
                if name not in self.names:
                    raise NotFound(f"there is no project {name[:64]}")
                project = self.default if name == self.default.name else ConfigManager().get_project(name)
                self._opened[name] = OpenProject(project)
            return self._opened[name]

    def close(self) -> None:
        """Close all connections."""
        for opened in self._opened.values():
            opened.close()


def gui_dir(project: Project) -> Path:
    """Return the directory with users, key and audit log, which only its owner can read."""
    directory = Path(project.base_dir) / "gui"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory
