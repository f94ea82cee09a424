"""Methods of `JobController` that back up and restore the queue database, with jobflow-remote's parameters."""

from __future__ import annotations

import logging
from pathlib import Path

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import backup
from jfr_mp.database.backup import Progress

logger = logging.getLogger(__name__)


def backup_dump(
    self: ProjectAccess,
    dir_path: str | Path = ".",
    mongo_bin_path: str | None = None,
    compress: bool = False,
    python: bool = False,
    *,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Back up the queue database; outputs in the JobStore are not included.

    Parameters
    ----------
    dir_path
        A file whose name ends in ``.zip``, to which everything is written. Any other path is a directory in which a
        directory with the name of the database is made, as jobflow-remote does; it can restore it.
    mongo_bin_path, python
        No effect: mongodump is not needed.
    compress
        Whether to compress the files in the directory; a zip file is always compressed.
    progress
        Called periodically with the name of a collection, the number of its documents so far, and their total.

    Returns
    -------
    dict
        The number of documents of each collection.

    Raises
    ------
    BackupError
        The files cannot be written, or a runner is working and the server is not a replica set.
    """
    return backup.dump(self.db, Path(dir_path), compress=compress, progress=progress)


def backup_restore(
    self: ProjectAccess,
    dir_path: str | Path = ".",
    mongo_bin_path: str | None = None,
    compress: bool | None = None,
    python: bool = False,
    *,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Restore a backup of jfr-mp, jobflow-remote or mongodump into the empty database of this or another project.

    The backup is verified first, and read back from the database afterwards. Locks and the record of the running runner
    are not restored.

    Parameters
    ----------
    dir_path
        The zip file, the directory with the files, or a directory that contains one of them.
    mongo_bin_path, compress, python
        No effect: mongorestore is not needed, and compressed files are recognised.
    progress
        As for `backup_dump`.

    Returns
    -------
    dict
        The number of documents of each collection.

    Raises
    ------
    BackupError
        The backup is damaged, the database is not empty, or a runner is working on it; nothing was changed.
    """
    restored = backup.restore(self.db, Path(dir_path), progress=progress)
    if missing := backup.missing_workers(self.db):
        logger.warning(
            "project %s has no workers %s, to which restored jobs belong; add them to the project file, or give the "
            "jobs another worker (`jfr-mp job set worker`)",
            self.project.name,
            ", ".join(missing),
        )
    return restored
