"""The journal of a worker: each job appends a line when its script starts and another one when it ends.

The journal is the file ``<work_dir>/.jfr_mp/journal`` with lines ``<start|end> <uuid>_<index> <submission> <seconds
since 1970>``. The submission token distinguishes the lines of different runs of a job. Following the journal is cheap
and shows the end of a job at once. It is not reliable, however: a killed script writes no line, and a line may be lost
when the journal is rotated or when two nodes append at once through a network file system. Therefore the scheduler is
still asked periodically.
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

#: The size in bytes at which the journal is rotated; the previous one is kept until the next rotation.
_ROTATE_AT = 2**20
#: The most bytes that one read of the journal takes; the next read goes on.
_AT_ONCE = 2**22


def journal_path(work_dir: str | PurePath) -> PurePosixPath:
    """Return the path of the journal of a worker."""
    return PurePosixPath(work_dir, ".jfr_mp", "journal")


def journal_lines(work_dir: str | PurePath, job: str, submission: str) -> list[str]:
    """Return the shell lines that make a script report its start now and its end when it exits.

    These lines cannot make the script fail: if the journal cannot be written, the end of the job is only noticed later.
    A script that sets its own EXIT trap, or replaces itself by ``exec``, does not report its end.

    Parameters
    ----------
    work_dir
        The work_dir of the worker.
    job
        ``<uuid>_<index>``.
    submission
        The submission token of this run.
    """
    path = journal_path(work_dir)
    journal, directory, names = quote([path]), quote([path.parent]), quote([job, submission])
    # EPOCHREALTIME exists since bash 5 and saves a process. A line this short is appended atomically.
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
    """A line of the journal: the start or the end of a job."""

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
        """Return the event in a line, or None if the line is not a valid event."""
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
    """Read the journal of one worker incrementally.

    Parameters
    ----------
    host
        The host of the worker.
    work_dir
        The work_dir of the worker.
    pause
        The minimum number of seconds between two reads; calls in between return nothing.
    rotate_at
        The size in bytes at which the journal is rotated.
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
        """Return the events appended since the last call; the first call returns all events.

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
        size, content = self._host.read_on(self._path, self._offset, limit=_AT_ONCE)
        if size < self._offset:
            # This or another reader has rotated it. Lines written between the last read and the rotation are in the
            # earlier file.
            yield from _events(self._host.read_on(self._earlier, self._offset, limit=_AT_ONCE)[1])
            self._offset = 0
            size, content = self._host.read_on(self._path, 0, limit=_AT_ONCE)
        if size > self._offset:
            # A line that is still being written has no line end yet; it is read next time. What has no line end in so
            # many bytes is not a journal line.
            whole = content[: content.rfind(b"\n") + 1] or (content if len(content) == _AT_ONCE else b"")
            self._offset += len(whole)
            yield from _events(whole)
        if self._offset > self._rotate_at:
            self._host.rename(self._path, self._earlier)


def _events(content: bytes) -> Iterator[Event]:
    for line in content.decode(errors="replace").splitlines():
        event = Event.parse(line)
        if event is not None:
            yield event
