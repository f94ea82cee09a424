"""A new project file for a running master: noticed, validated, and rolled through the role processes one by one."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from jfr_mp.config import ConfigManager
from jfr_mp.errors import ConfigError
from jfr_mp.supervisor.child import Child
from jfr_mp.supervisor.lifecycle import State

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: The parts of a project file that a master uses itself from its start on.
_FIXED = (
    "queue",
    "log_dir",
    "daemon_dir",
    "jfr_mp.embedded_db",
    "jfr_mp.heartbeat_interval",
    "jfr_mp.lease_ttl",
)


class ProjectFile:
    """The project file of a master, which may change while the master runs.

    Parameters
    ----------
    project
        The project as the master read it.

    Attributes
    ----------
    notice
        What the user should know: the file has changed, or cannot be used; None if it is the one in effect.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.notice: str | None = None
        self._path = ConfigManager().get_project_data(project.name).filepath
        self._seen: Any = self._stamp()
        self._in_effect = self._digest()

    def look(self) -> None:
        """Find out whether the file has changed since it was read; costs nothing while it has not."""
        if (stamp := self._stamp()) == self._seen:
            return
        self._seen = stamp
        if self._digest() == self._in_effect:
            self.notice = None
            return
        try:
            self._read()
        except ConfigError as error:
            self._warn(f"the project file cannot be used, so the earlier one stays in effect: {error}")
        else:
            self._warn(f"{self._path} has changed: apply it with `jfr-mp reload`")

    def load(self) -> Project:
        """Put the file into effect, and return the project.

        Raises
        ------
        ConfigError
            The file is not valid, or changes what only a new master can use; the earlier one stays in effect.
        """
        seen, digest = self._stamp(), self._digest()
        project = self._read()
        if fixed := [name for name in _FIXED if attrgetter(name)(project) != attrgetter(name)(self.project)]:
            raise ConfigError(f"{self._path}: a reload cannot change {', '.join(fixed)}: use `jfr-mp restart`")
        self.project, self.notice, self._seen, self._in_effect = project, None, seen, digest
        return project

    def _read(self) -> Project:
        return ConfigManager().get_project(self.project.name)

    def _warn(self, notice: str) -> None:
        if notice != self.notice:
            logger.warning("%s", notice)
        self.notice = notice

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            return ""


class Roll:
    """Replaces role processes one after another, so that each role goes on if it has several processes."""

    def __init__(self) -> None:
        self._waiting: deque[Child] = deque()
        self._current: Child | None = None

    def begin(self, children: Iterable[Child]) -> None:
        """Replace these children, also the ones that an earlier reload has replaced just now."""
        self._waiting = deque(children)

    @property
    def active(self) -> bool:
        """Whether there is something left to do."""
        return bool(self._waiting) or self._current is not None

    def turn(self, wanted: Callable[[Child], bool]) -> Child | None:
        """Return the child whose process is to be replaced now, or None.

        Parameters
        ----------
        wanted
            Returns whether the process of a child is to run: one that is not has nothing to be replaced.
        """
        if self._current is not None:
            # A process that the caller was told to stop is in none of these states before its successor.
            if self._current.life.state not in (State.RUNNING, State.FATAL) and wanted(self._current):
                return None
            self._current = None
        while self._waiting:
            child = self._waiting.popleft()
            if wanted(child):
                self._current = child
                return child
        return None
