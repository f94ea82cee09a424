"""The runner's access to the pool of a batch worker. The host may be remote, so each operation is one command."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jfr_mp.batch.fate import BatchInfo, RunDirState
from jfr_mp.batch.markers import ALIVE_FILENAME, BATCH_INFO_FILENAME, LOCK_DIR, Marker, Place
from jfr_mp.errors import HostError
from jfr_mp.hosts import BaseHost, CommandResult
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME, SUBMIT_SCRIPT
from jfr_mp.jobdata.outputs import is_complete
from jfr_mp.schedulers.submission import PROCESS_ID_FILENAME

#: $1 is the pool, $2 the job, $3 its run directory. The standard input is the script of the job.
#:
#: If an attempt dies, it leaves a file in the run directory, and the next attempt finds the job in whatever place it is
#: by then. Without that file, markers of the job belong to an earlier run, which no process is waiting for any more.
_ADD = f"""
own="$3/.{SUBMIT_SCRIPT}.$$"
cat >"$own" && mv "$own" "$3/{SUBMIT_SCRIPT}" || exit
mkdir -p "$1/{Place.SUBMITTED}" "$1/{Place.RUNNING}" "$1/{Place.FINISHED}" "$1/{LOCK_DIR}" && cd "$1" || exit
if test -e "$3/{PROCESS_ID_FILENAME}"; then
    for marker in {Place.SUBMITTED}/"$2" {Place.RUNNING}/"$2"_* {Place.FINISHED}/"$2"_* "$3/{OUT_FILENAME}"; do
        test -e "$marker" && exit
    done
else
    rm -f {Place.RUNNING}/"$2"_* {Place.FINISHED}/"$2"_* && echo pool >"$3/{PROCESS_ID_FILENAME}" || exit
fi
: >{Place.SUBMITTED}/"$2"
"""

#: $1 is the pool, $2 the places, the rest are directories of batches. The places are in the order in which a marker
#: passes through them, so that a marker that moves meanwhile is seen twice rather than never.
_LOOK = f"""
cd "$1" || exit
for place in $2; do
    echo "jfr-mp $place"
    ls -1 "$place" || exit
done
shift 2
for directory; do
    echo "jfr-mp $directory"
    test -f "$directory/{BATCH_INFO_FILENAME}" && head -c 65536 "$directory/{BATCH_INFO_FILENAME}" 2>/dev/null
    echo
done
"""

#: $1 is the pool, $2 and $3 are markers. Prints "moved" if the second one exists afterwards.
_MOVE = """
cd "$1" || exit
mv -f "$2" "$3" 2>/dev/null
test ! -e "$3" || echo moved
"""

#: $1 is the pool, $2 the job.
_ADD_AGAIN = f'cd "$1" && : >{Place.SUBMITTED}/"$2"'

#: $1 is the pool, the rest are markers.
_DISCARD = """
cd "$1" || exit
shift
rm -f "$@"
"""

#: $1 is the worker's work_dir, $2 the run directory.
_RUN_DIR_STATE = f"""
cd "$1" || exit
test -e "$2/{IN_FILENAME}" && echo uploaded
test -f "$2/{ALIVE_FILENAME}" || exit 0
flock -n "$2/{ALIVE_FILENAME}" true
test $? -eq 1 && echo alive
exit 0
"""

#: The number of markers that certainly fit into one command line.
_AT_ONCE = 500


@dataclass(frozen=True)
class Look:
    """The content of the pool.

    Parameters
    ----------
    markers
        The marker of each job; if it moved meanwhile, the later one.
    finished
        All markers of scripts that have ended.
    infos
        The information that batches wrote about themselves, by their directories; None if there is none.
    """

    markers: Mapping[tuple[str, int], Marker]
    finished: Sequence[Marker]
    infos: Mapping[str, BatchInfo | None]


class Pool:
    """The pool of one worker.

    Parameters
    ----------
    host
        The host of the worker.
    directory
        Its ``jobs_handle_dir``.
    timeout
        Seconds that a command may take; None for no limit.
    """

    def __init__(self, host: BaseHost, directory: Path, timeout: float | None = None) -> None:
        self._host = host
        self._directory = str(directory)
        self._timeout = timeout

    def add(self, uuid: str, index: int, run_dir: str, script: str) -> None:
        """Put a job into the pool; repeating this is safe, whatever place the job has reached by then.

        Parameters
        ----------
        uuid, index
            The job.
        run_dir
            Its run directory, which must exist.
        script
            The script that a batch runs there; see `jfr_mp.batch.scripts.pooled_script`.

        Raises
        ------
        HostError
            The command failed. The job may be in the pool; the next attempt finds out.
        """
        self._do("put a job into", _ADD, f"{uuid}_{index}", run_dir, stdin=script)

    def add_again(self, uuid: str, index: int) -> None:
        """Put a job whose marker was lost back into the pool.

        Raises
        ------
        HostError
            The command failed. The job may be in the pool; the next survey finds out.
        """
        self._do("put a job back into", _ADD_AGAIN, f"{uuid}_{index}")

    def look(self, places: Collection[Place] = tuple(Place), batch_dirs: Iterable[str] = ()) -> Look:
        """Return the markers in some places, and the information that batches wrote about themselves.

        Raises
        ------
        HostError
            The pool cannot be read. This allows no conclusion about any job.
        """
        wanted = " ".join(place for place in Place if place in places)
        result = self._do("look into", _LOOK, wanted, *batch_dirs)
        _, *parts = re.split(r"^jfr-mp (.+)$", result.stdout, flags=re.MULTILINE)
        sections = list(zip(parts[::2], parts[1::2], strict=True))
        markers = list(_markers(sections[: len(places)]))
        return Look(
            markers={marker.job: marker for marker in markers},
            finished=[marker for marker in markers if marker.place is Place.FINISHED],
            infos={directory: BatchInfo.parse(text) for directory, text in sections[len(places) :]},
        )

    def put_back(self, marker: Marker) -> bool:
        """Return a job that a batch took to the waiting jobs.

        Returns
        -------
        bool
            Whether it waits now; False if its marker has moved or was removed.

        Raises
        ------
        HostError
            The command failed. The job may be waiting; the next survey finds out.
        """
        waiting = Marker(marker.uuid, marker.index, Place.SUBMITTED)
        return "moved" in self._do("put a job back into", _MOVE, marker.path, waiting.path).stdout

    def discard(self, markers: Sequence[Marker]) -> None:
        """Remove markers; missing ones are ignored.

        Raises
        ------
        HostError
            The command failed. Some markers may be left.
        """
        for start in range(0, len(markers), _AT_ONCE):
            self._do("tidy up", _DISCARD, *(marker.path for marker in markers[start : start + _AT_ONCE]))

    def run_dir_state(self, work_dir: Path, run_dir: str) -> RunDirState:
        """Return the state of the run directory of a job.

        Raises
        ------
        HostError
            The worker's `work_dir` cannot be read. This allows no conclusion about the job.
        """
        result = self._run(f"look for {run_dir} in {work_dir}", _RUN_DIR_STATE, str(work_dir), run_dir)
        words = result.stdout.split()
        # In this order, so that a job that ends between the two checks counts as complete.
        alive = "alive" in words
        return RunDirState("uploaded" in words, is_complete(self._host, str(PurePosixPath(run_dir))), alive)

    def _do(self, what: str, script: str, *arguments: str, stdin: str | None = None) -> CommandResult:
        return self._run(f"{what} {self._directory}", script, self._directory, *arguments, stdin=stdin)

    def _run(self, what: str, script: str, *arguments: str, stdin: str | None = None) -> CommandResult:
        argv = ["/bin/sh", "-c", script, "jfr-mp", *arguments]
        result = self._host.run(argv, timeout=self._timeout, stdin=stdin, idempotent=True)
        if result.returncode != 0:
            reason = " ".join((result.stderr or result.stdout).split())[:500] or f"exit code {result.returncode}"
            raise HostError(f"{self._host.name}: cannot {what}: {reason}")
        return result


def _markers(sections: Iterable[tuple[str, str]]) -> Iterator[Marker]:
    for place, names in sections:
        for name in names.split():
            if marker := Marker.parse(Place(place), name):
                yield marker
