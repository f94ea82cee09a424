"""The pool of a batch worker: the directory through which jobs reach batches, in jobflow-remote's layout.

A job is an empty file there, its marker, whose place says how far the job is: ``submitted/<uuid>_<index>`` while it
waits, ``running/<uuid>_<index>_<batch_uid>`` when a batch has taken it, ``run_finished/`` and the same name when
its script has ended. The batches of jfr-mp move a marker by a rename: one process alone can take it, and it is in one
place at any time. Those of jobflow-remote remove it from one place and make it in the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """A directory of the pool, in the order in which a marker passes them."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    FINISHED = "run_finished"


#: Where the batches of jobflow-remote lock a marker while they take it.
LOCK_DIR = "lock"
#: In its working directory a batch says when it began, that it lives, and when it ended.
BATCH_INFO_FILENAME = "batch_info.json"
#: In its run directory a job's script holds a lock on this file as long as one of its processes lives.
ALIVE_FILENAME = "jfr_mp_alive"
#: Seconds between two signs of life of a batch.
HEARTBEAT = 5.0

_WAITING = re.compile(r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_(?P<index>\d+)", re.IGNORECASE)
_TAKEN = re.compile(rf"{_WAITING.pattern}_(?P<batch_uid>[^_/]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Marker:
    """The file that stands for a job; `batch_uid` is the batch that took it, or None while it waits."""

    uuid: str
    index: int
    place: Place
    batch_uid: str | None = None

    @classmethod
    def parse(cls, place: Place, name: str) -> Marker | None:
        """Read the name of a file, or return None for one that is no marker."""
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
        """The path of the file below the directory of the pool."""
        owner = f"_{self.batch_uid}" if self.batch_uid else ""
        return f"{self.place}/{self.uuid}_{self.index}{owner}"
