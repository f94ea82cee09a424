"""The pool of a batch worker as seen from a batch: files on its own machine."""

from __future__ import annotations

from pathlib import Path

from jfr_mp.batch.markers import LOCK_DIR, Marker, Place


class PoolDirectory:
    """The pool as seen from a batch.

    Parameters
    ----------
    directory
        The worker's ``jobs_handle_dir``.
    batch_uid
        The batch that takes jobs.
    """

    def __init__(self, directory: Path, batch_uid: str) -> None:
        self._directory = directory
        self._batch_uid = batch_uid
        self._listed: list[Marker] = []
        for name in (*Place, LOCK_DIR):
            Path(directory, name).mkdir(parents=True, exist_ok=True)

    def taken(self) -> list[Marker]:
        """Return the jobs that this batch has taken, including any taken before its scheduler requeued it."""
        return [marker for marker in self._list(Place.RUNNING) if marker.batch_uid == self._batch_uid]

    def take(self) -> Marker | None:
        """Take and return a waiting job, or return None if no job is waiting.

        All jobs of one listing are tried before the pool is listed again, so that no job is overtaken indefinitely.
        """
        if not self._listed:
            self._listed = self._list(Place.SUBMITTED)
        while self._listed:
            waiting = self._listed.pop()
            taken = Marker(waiting.uuid, waiting.index, Place.RUNNING, self._batch_uid)
            if self._move(waiting, taken):
                return taken
        return None

    def finish(self, marker: Marker) -> None:
        """Mark the script of a taken job as ended."""
        self._move(marker, Marker(marker.uuid, marker.index, Place.FINISHED, marker.batch_uid))

    def _move(self, marker: Marker, target: Marker) -> bool:
        """Rename a marker; return False if another process has moved it."""
        path = self._directory / target.path
        try:
            Path(self._directory, marker.path).rename(path)
        except FileNotFoundError:
            # A network file system may rename the file, lose the answer, and report the repeated request as failed.
            return target.batch_uid is not None and path.exists()
        return True

    def _list(self, place: Place) -> list[Marker]:
        markers = (Marker.parse(place, path.name) for path in Path(self._directory, place).iterdir())
        return [marker for marker in markers if marker is not None]
