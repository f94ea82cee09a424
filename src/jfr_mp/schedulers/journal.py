"""The journal of a worker: each job appends a line when its script starts and one when it ends.

``<start|end> <uuid>_<index> <submission> <seconds since 1970>`` in ``<work_dir>/.jfr_mp/journal``, where the submission
is a token that tells the lines of one run of a job from those of another. Following that file tells of the end of a job
at once and for next to nothing. It is a hint, never the truth: a script that is killed writes no line, and a line may
be lost on a rotation, or where two nodes append at once through a network file system, so the scheduler is still asked
now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath, PurePosixPath

from jfr_mp.hosts import BaseHost
from jfr_mp.hosts.quoting import quote

#: The identity of a job in a journal: uuid and index.
JobKey = tuple[str, int]

#: Bytes after which the journal is begun anew; the earlier one stays beside it until the next time.
_ROTATE_AT = 2**20


def journal_path(work_dir: str | PurePath) -> PurePosixPath:
    """Return the journal of the worker with that work_dir."""
    return PurePosixPath(work_dir, ".jfr_mp", "journal")


def journal_lines(work_dir: str | PurePath, job: str, submission: str) -> list[str]:
    """Return the shell lines that make a script report its start now and its end when it exits.

    Nothing here can fail the script: a journal that cannot be written costs time, not the job. A script that sets an
    EXIT trap of its own, or replaces itself by ``exec``, reports no end.

    Parameters
    ----------
    work_dir
        The work_dir of the worker.
    job
        ``<uuid>_<index>``.
    submission
        The token of this run.
    """
    path = journal_path(work_dir)
    journal, directory, names = quote([path]), quote([path.parent]), quote([job, submission])
    # EPOCHREALTIME is there from bash 5 on and saves a process. A line this short is appended at once.
    return [
        "jfr_mp_report() {",
        f"    [ -d {directory} ] || mkdir -p {directory} || return 0",
        f"""    printf '%s %s %s %s\\n' "$1" {names} "${{EPOCHREALTIME:-$(date +%s)}}" >> {journal} || :""",
        "} 2>/dev/null",
        "jfr_mp_report start",
        "trap 'jfr_mp_report end' EXIT",
    ]


@dataclass(frozen=True)
class Event:
    """A line of the journal: a job started, or ended."""

    uuid: str
    index: int
    submission: str
    ended: bool
    time: datetime

    @property
    def job(self) -> JobKey:
        """The identity of the job."""
        return (self.uuid, self.index)

    @classmethod
    def parse(cls, line: str) -> Event | None:
        """Read a line, or return None for one that is none of ours."""
        match line.split():
            case ["start" | "end" as what, job, submission, seconds]:
                uuid, _, index = job.rpartition("_")
                try:
                    # Some locales write a decimal comma.
                    moment = datetime.fromtimestamp(float(seconds.replace(",", ".")), UTC)
                    return cls(uuid, int(index), submission, what == "end", moment)
                except (ValueError, OverflowError, OSError):
                    return None
        return None


class JournalReader:
    """Follows the journal of one worker.

    Parameters
    ----------
    host
        The host of the worker.
    work_dir
        Its work_dir.
    pause
        Seconds after a look within which the next one is left out.
    rotate_at
        Bytes after which the journal is begun anew.
    """

    def __init__(
        self, host: BaseHost, work_dir: str | PurePath, *, pause: float = 0.0, rotate_at: int = _ROTATE_AT
    ) -> None:
        self._host = host
        self._path = journal_path(work_dir)
        self._earlier = self._path.with_name("journal.1")
        self._offset = 0
        self._pause = pause
        self._next_look = float("-inf")
        self._rotate_at = rotate_at
        self._reading = threading.Lock()

    def new_events(self) -> list[Event]:
        """Return what was appended since the last call; the first call returns all there is.

        Raises
        ------
        HostError
            The journal cannot be read now.
        """
        with self._reading:
            if time.monotonic() < self._next_look:
                return []
            events = list(self._new_events())
            self._next_look = time.monotonic() + self._pause
            return events

    def _new_events(self) -> Iterator[Event]:
        size = self._host.size(self._path) or 0
        if size < self._offset:
            # We or another reader rotated it: what came between our last look and the rotation is in the earlier file.
            if (self._host.size(self._earlier) or 0) > self._offset:
                yield from _events(self._host.read_from(self._earlier, self._offset))
            self._offset = 0
        if size > self._offset:
            content = self._host.read_from(self._path, self._offset)
            # A line that is still being written has no end yet; it comes next time.
            whole = content[: content.rfind(b"\n") + 1]
            self._offset += len(whole)
            yield from _events(whole)
        if self._offset > self._rotate_at:
            self._host.rename(self._path, self._earlier)


def _events(content: bytes) -> Iterator[Event]:
    for line in content.decode(errors="replace").splitlines():
        event = Event.parse(line)
        if event is not None:
            yield event
