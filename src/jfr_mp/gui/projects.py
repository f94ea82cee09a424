"""The projects that a server shows: their connections, opened when they are first used."""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.api.controller import JobController
from jfr_mp.config import ConfigManager
from jfr_mp.database import overview, processes
from jfr_mp.database.connection import PERSON_TIMEOUT, QueueDatabase
from jfr_mp.errors import NotFound
from jfr_mp.gui.audit import Audit
from jfr_mp.gui.figures import SPANS
from jfr_mp.gui.hub import Hub
from jfr_mp.gui.other_logs import OtherLogs
from jfr_mp.gui.shared_values import SharedValues
from jfr_mp.states import JobState
from jfr_mp.supervisor import fleet_log

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.overview import EndedJobs, FlowMember
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.model import JobInfo

#: The longest time for which the numbers of a month are kept.
_MOST_ENDS = 60.0
#: How many late jobs are shown.
_SHOWN = 8
_LATE = timedelta(minutes=30)
#: Seconds to wait for the logs of other machines; through the database they come with the next heartbeat.
_LOG_TIMEOUT = 20.0


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
        self.other_logs = OtherLogs(lambda wanted: fleet_log.log_elsewhere(project, wanted, timeout=_LOG_TIMEOUT))
        self._shared = SharedValues(lambda: self.hub.version)

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
        return self._shared.get("counts", lambda: overview.counts_by_worker(self.db))

    def ends(self, span: timedelta, seconds: int) -> dict[int, EndedJobs]:
        """Return the jobs that have ended by part of a time span, possibly those of the last request."""
        since = datetime.now(UTC) - span
        return self._shared.get(
            f"ends {seconds}", lambda: overview.ends_since(self.db, since, seconds), most=_MOST_ENDS, late=True
        )

    def processes(self) -> list[ProcessRecord]:
        """Return the masters and role processes that are running."""
        lease_ttl = self.project.jfr_mp.lease_ttl
        return self._shared.get("processes", lambda: processes.living(self.db, lease_ttl), quiet=0)

    def lost_masters(self) -> list[ProcessRecord]:
        """Return the masters that were lost, and whose machines have had none since."""
        return self._shared.get("lost", lambda: processes.lost_masters(self.db), quiet=0)

    def late_jobs(self) -> list[JobInfo]:
        """Return jobs that have not moved for longer than usual although jfr-mp should move them."""
        return self._shared.get("late", lambda: overview.late_jobs(self.db, _LATE, _SHOWN))

    def warm_up(self) -> None:
        """Read what the overview shows before the first user asks for it."""
        self.counts()
        self.late_jobs()
        for span in SPANS.values():
            self.ends(*span)

    def close(self) -> None:
        """Close the connections."""
        self.hub.stop()
        self._shared.close()
        self.other_logs.close()
        self.controller.close()

    def members(self, flow_id: str) -> list[FlowMember]:
        """Return the jobs of a flow."""
        return self._shared.get(f"flow {flow_id}", lambda: overview.members_of_flow(self.db, flow_id))


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
