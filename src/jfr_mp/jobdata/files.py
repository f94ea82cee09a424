"""Names and places of the files of a job, the same as jobflow-remote's, and how they are written."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import UUID

#: What a job runs: the serialized job, the stores for its output and its document.
IN_FILENAME = "jfremote_in.json"
#: How a job ended, beside the stores that hold its output.
OUT_FILENAME = "jfremote_out.json"
#: The standard output and error of the submission script.
QUEUE_OUT = "queue.out"
QUEUE_ERR = "queue.err"
SUBMIT_SCRIPT = "submit.sh"

#: The module that serialized stores of output files name, whoever wrote them: either worker command opens them.
PEER_MODULE = "jobflow_remote.remote.data"

#: The directories above a run directory are this many pairs of hexadecimal digits of the uuid.
_LEVELS = 3


def job_path(uuid: str, index: int | None, base: str | PurePosixPath | Path) -> str:
    """Return the run directory of a job, such as ``base/ab/cd/ef/abcdef01-..._1``.

    Parameters
    ----------
    uuid
        The uuid of the job; a ValueError says that it is none, so that it cannot lead out of `base`.
    index
        The index of the job, or None for a directory without one (a batch process).
    base
        The work_dir of the worker.
    """
    digits = UUID(uuid).hex
    pairs = [digits[2 * level : 2 * level + 2] for level in range(_LEVELS)]
    return str(PurePosixPath(base, *pairs, uuid if index is None else f"{uuid}_{index}"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`, which takes its place when the body ends well.

    A reader sees the old file or the whole new one, whenever the writer dies. The temporary name ends as `path` does,
    because the ending chooses the compression.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:  # Ctrl-C included: no temporary file stays
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
