"""Output files on their way from the machine that downloaded them to the machine that completes the job.

They travel in GridFS, in the queue database. Each attempt of a download writes under a token of its own, which its
commit enters in the job: what a process writes that has lost its lock is never read, and is removed as garbage.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridfs import GridFSBucket

from jfr_mp.database.deployment import Deployment
from jfr_mp.model import JobDoc, JobRecord, utcnow
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)

BUCKET = "jfr_mp_outputs"

#: Seconds after which files that belong to no waiting job are garbage: an upload in progress may take that long.
_GARBAGE_AFTER = 6 * 3600.0
#: Seconds for which no living process has seen a place before its jobs are downloaded again: processes restart.
_MISSING_FOR = 10.0
_ENDED = [JobState.COMPLETED.value, JobState.FAILED.value]


class OutputFiles:
    """The exchange of output files between machines: an `Exchange` of `jfr_mp.steps.services`.

    Parameters
    ----------
    db
        The queue database.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self._db = db
        self.deployment = Deployment(db)
        self._bucket = GridFSBucket(db.db, bucket_name=BUCKET)

    def wanted(self, place: str) -> bool:
        """Return whether only processes that do not see a place can complete jobs now."""
        return self.deployment.runs(Role.COMPLETE) and not self.deployment.sees(Role.COMPLETE, place)

    def served(self, place: str) -> bool:
        """Return False if jobs are submitted by processes which do not see this place, and by no other."""
        return self.deployment.sees(Role.QUEUE, place) or not self.deployment.runs(Role.QUEUE)

    def put(self, job: JobDoc, directory: Path, names: Iterable[str]) -> str:
        """Store the files of a job that exist; return the token that its commit enters in the job."""
        token = secrets.token_hex(8)
        for name in names:
            path = directory / name
            if path.is_file():
                with path.open("rb") as file:
                    self._bucket.upload_from_stream(f"{_prefix(job)}{token}/{name}", file)
        # The files may all be missing: this one tells that the attempt was complete.
        self._bucket.upload_from_stream(f"{_prefix(job)}{token}/", b"")
        return token

    def get(self, job: JobDoc, directory: Path) -> bool:
        """Write the files of a job into a directory; return False if they are not there, or not all of them."""
        prefix = f"{_prefix(job)}{job.remote.outputs}/"
        files = list(self._files(prefix))
        if prefix not in {file["filename"] for file in files}:
            return False
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            if name := file["filename"].removeprefix(prefix):
                with (directory / Path(name).name).open("wb") as target:
                    self._bucket.download_to_stream(file["_id"], target)
        return True

    def remove(self, job: JobRecord) -> None:
        """Remove the files of a job that has ended, those of interrupted attempts as well."""
        for file in self._files(_prefix(job)):
            self._bucket.delete(file["_id"])

    def collect_garbage(self) -> None:
        """Remove files that no job waits for: of interrupted attempts, and of jobs that were deleted or rerun."""
        old = {"uploadDate": {"$lt": utcnow() - timedelta(seconds=_GARBAGE_AFTER)}}
        for file in self._db.db[f"{BUCKET}.files"].find(old, {"filename": 1}):
            job, token, _ = file["filename"].split("/", 2)
            uuid, _, index = job.rpartition("_")
            waits = {"uuid": uuid, "index": int(index), "remote.outputs": token, "state": {"$nin": _ENDED}}
            if not self._db.jobs.find_one(waits, {"_id": 1}):
                self._bucket.delete(file["_id"])

    def _files(self, prefix: str) -> list[dict[str, Any]]:
        # An index on the name serves the regular expression, because it is anchored.
        query = {"filename": {"$regex": f"^{re.escape(prefix)}"}}
        return list(self._db.db[f"{BUCKET}.files"].find(query, {"filename": 1}))


class Strays:
    """Finds downloaded output that only a machine without a complete role sees, and has it downloaded again.

    The download then puts it into the exchange. It happens when the machine, or its complete role, was stopped after a
    download.

    Parameters
    ----------
    db
        The queue database.
    deployment
        The registered processes.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, db: QueueDatabase, deployment: Deployment, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._deployment = deployment
        self._clock = clock
        self._missing: dict[str, float] = {}

    @property
    def suspected(self) -> bool:
        """Whether places were missing at the last look."""
        return bool(self._missing)

    def send_back(self) -> int:
        """Set the jobs whose output no complete role has seen for a while to RUN_FINISHED; return how many."""
        seen = list(self._deployment.places_of(Role.COMPLETE))
        stray = {"state": JobState.DOWNLOADED.value, "lock_id": None, "remote.place": {"$nin": [None, *seen]}}
        now = self._clock()
        places = self._db.jobs.distinct("remote.place", stray)
        self._missing = {place: self._missing.get(place, now) for place in places}
        gone = [place for place, since in self._missing.items() if now - since >= _MISSING_FOR]
        if not gone:
            return 0
        # The files of a remote worker can be downloaded from anywhere, those of a local one where they are.
        moved = {"state": JobState.RUN_FINISHED.value, "remote.place": "$remote.home", "updated_on": "$$NOW"}
        number = self._db.jobs.update_many({**stray, "remote.place": {"$in": gone}}, [{"$set": moved}]).modified_count
        if number:
            logger.warning("%d jobs are downloaded again: no complete role sees the machine with their output", number)
        return number


def _prefix(job: JobRecord) -> str:
    return f"{job.uuid}_{job.index}/"
