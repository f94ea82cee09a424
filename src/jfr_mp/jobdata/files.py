"""Names and paths of the files of a job, the same as in jobflow-remote, and functions that write files atomically."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import UUID

#: The input of a job: the serialized job, the stores for its output and its document.
IN_FILENAME = "jfremote_in.json"
#: The result of a job, apart from the output in the transfer stores.
OUT_FILENAME = "jfremote_out.json"
#: The standard output and error of the submission script.
QUEUE_OUT = "queue.out"
QUEUE_ERR = "queue.err"
SUBMIT_SCRIPT = "submit.sh"
#: How much sooner than others the kernel kills the processes of a job of the shell when no memory is left, in
#: thousandths of all of it. So the runner and its database survive a job of many small processes.
OOM_SCORE = 500

#: The module that serialized transfer stores name, so that the worker command of either package can open them.
PEER_MODULE = "jobflow_remote.remote.data"

#: The directories above a run directory are this many pairs of hexadecimal digits of the uuid.
_LEVELS = 3


def job_path(uuid: str, index: int | None, base: str | PurePosixPath | Path) -> str:
    """Return the run directory of a job, such as ``base/ab/cd/ef/abcdef01-..._1``.

    Parameters
    ----------
    uuid
        The uuid of the job. A ValueError is raised if it is not a uuid, so that it cannot lead out of `base`.
    index
        The index of the job, or None for a directory without an index (that of a batch).
    base
        The work_dir of the worker.
    """
    digits = UUID(uuid).hex
    pairs = [digits[2 * level : 2 * level + 2] for level in range(_LEVELS)]
    return str(PurePosixPath(base, *pairs, uuid if index is None else f"{uuid}_{index}"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` if the body succeeds.

    A reader sees either the old file or the complete new one, even if the writer dies. The temporary name has the same
    suffix as `path`, because the suffix selects the compression.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:  # including Ctrl-C: no temporary file must be left
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
