"""The pool of a batch worker: the directory through which jobs reach batches, in jobflow-remote's layout.

Each job is represented by an empty file, its marker, whose place shows the progress of the job:
``submitted/<uuid>_<index>`` while it waits, ``running/<uuid>_<index>_<batch_uid>`` after a batch has taken it, and
``run_finished/`` with the same name after its script has ended. Batches of jfr-mp move a marker by renaming it, so that
only one process can take it, and it is in exactly one place at any time. Batches of jobflow-remote remove it from one
place and create it in the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """The directories of the pool, in the order in which a marker passes through them."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    FINISHED = "run_finished"


#: The directory in which batches of jobflow-remote lock a marker while they take it.
LOCK_DIR = "lock"
#: The info file in the working directory of a batch, with its start, its last heartbeat and its end.
BATCH_INFO_FILENAME = "batch_info.json"
#: A file in the run directory; the processes of a job hold a lock on it as long as any of them is running.
ALIVE_FILENAME = "jfr_mp_alive"
#: Seconds between two heartbeats of a batch.
HEARTBEAT = 5.0

_WAITING = re.compile(r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_(?P<index>[0-9]{1,9})", re.IGNORECASE)
_TAKEN = re.compile(rf"{_WAITING.pattern}_(?P<batch_uid>[^_/]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Marker:
    """The file that represents a job; `batch_uid` is the batch that took it, or None while it waits."""

    uuid: str
    index: int
    place: Place
    batch_uid: str | None = None

    @classmethod
    def parse(cls, place: Place, name: str) -> Marker | None:
        """Return the marker with a file name, or None if the name is not that of a marker."""
        match = (_WAITING if place is Place.SUBMITTED else _TAKEN).fullmatch(name)
        if match is None:
            return None
        return cls(match["uuid"], int(match["index"]), place, match.groupdict().get("batch_uid"))

    @property
    def job(self) -> tuple[str, int]:
        """The identity of the job: uuid and index."""
        return (self.uuid, self.index)

    @property
    def path(self) -> str:
        """The path of the file, relative to the directory of the pool."""
        owner = f"_{self.batch_uid}" if self.batch_uid else ""
        return f"{self.place}/{self.uuid}_{self.index}{owner}"
