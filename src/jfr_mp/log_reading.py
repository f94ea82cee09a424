"""The logs of role processes: entries, read in the order of their time and as they are written."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jfr_mp.log_entries import NO_ENTRY, LogEntry, parse

#: Bytes at the end of a log in which its last entries are looked for first.
_BLOCK = 2**16
#: Seconds between two looks at the logs that are followed.
_GLANCE = 0.2


@dataclass(frozen=True)
class Wanted:
    """The entries that are shown.

    Parameters
    ----------
    level
        Only entries of this level of `logging` and above.
    db_id
        Only entries about this job; None for all.
    since
        Only entries from this time on, in seconds since 1970.
    """

    level: int = logging.DEBUG
    db_id: str | None = None
    since: float = -math.inf

    def __call__(self, entry: LogEntry) -> bool:
        """Return whether an entry is shown."""
        if entry.level < self.level or (self.since > -math.inf and (entry.time or 0.0) < self.since):
            return False
        if self.db_id is None:
            return True
        # The first test is for speed.
        about = f"job {self.db_id}"
        return about in entry.text and bool(re.search(rf"\b{re.escape(about)}(?![\w-])", entry.text))


class Log:
    """A log that is read as it grows, through its rotations.

    Its master rotates it by copying it to ``NAME.log.1`` and truncating it, see `jfr_mp.supervisor.logfile`.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._read_until = 0
        self._partial = b""
        self._last = NO_ENTRY

    @property
    def rotated(self) -> Path:
        """The file to which it was rotated last."""
        return self.path.with_name(f"{self.path.name}.1")

    def go_back(self, size: int) -> bool:
        """Go to so many bytes before the end of the file; return whether that is its beginning."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return True
        self._inode, self._read_until = status.st_ino, max(0, status.st_size - size)
        self._partial, self._last = b"", NO_ENTRY
        return self._read_until == 0

    def new_entries(self) -> list[LogEntry]:
        """Return what has been written since the last call, except for a line that is not complete."""
        *lines, self._partial = (self._partial + self._new_bytes()).split(b"\n")
        found = list(parse([line.decode(errors="replace") for line in lines], self._last))
        self._last = found[-1] if found else self._last
        return found

    def _new_bytes(self) -> bytes:
        """Return what has been written since the last call, the end of a file that was rotated first."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return b""
        data = b""
        if status.st_size < self._read_until or status.st_ino != self._inode:
            # A file of the same inode was truncated: what was not read of it yet is in the copy.
            data = _bytes(self.rotated, self._read_until) if status.st_ino == self._inode else b""
            self._inode, self._read_until = status.st_ino, 0
        new = _bytes(self.path, self._read_until)
        self._read_until += len(new)
        return data + new


def last_entries(logs: Sequence[Log], number: int, wanted: Wanted) -> list[LogEntry]:
    """Return the last of the wanted entries of all logs together, in the order of their time."""
    return latest(logs, number, wanted)[0]


def latest(logs: Sequence[Log], number: int, wanted: Wanted, most: float = math.inf) -> tuple[list[LogEntry], bool]:
    """Return the last of the wanted entries, and whether all that has to be searched for them was searched.

    Parameters
    ----------
    most
        The maximum number of bytes at the end of each log that are searched.
    """
    if not number:
        return [], True
    tails = [_tail(log, number, wanted, most) for log in logs]
    found = [entry for entries, _ in tails for entry in entries]
    return sorted(found, key=lambda entry: entry.moment)[-number:], all(whole for _, whole in tails)


def follow(find: Callable[[], Sequence[Path]], number: int, wanted: Wanted) -> Generator[LogEntry]:
    """Return the last of the wanted entries, then every new one, for ever.

    Parameters
    ----------
    find
        Lists the logs; called again and again, because processes come and go.
    number
        How many entries to begin with.
    """
    logs = {path: Log(path) for path in find()}
    yield from last_entries(list(logs.values()), number, wanted)
    while True:
        logs |= {path: Log(path) for path in find() if path not in logs}
        new = [entry for log in logs.values() for entry in log.new_entries() if wanted(entry)]
        yield from sorted(new, key=lambda entry: entry.moment)
        if not new:
            time.sleep(_GLANCE)


def _tail(log: Log, number: int, wanted: Wanted, most: float) -> tuple[deque[LogEntry], bool]:
    """Return the last of the wanted entries of a log, whose reader is at its end then, and whether that is certain."""
    size: float = min(_BLOCK, most)
    while True:
        complete = log.go_back(int(size))
        # The first entry may have been cut.
        entries = log.new_entries()[0 if complete else 1 :]
        found = deque(filter(wanted, entries), number)
        if len(found) == number:
            return found, True
        if complete or size >= most:
            break
        size = min(size * 4, most)
    if most < math.inf:
        return found, complete and not log.rotated.exists()
    lines = _bytes(log.rotated, 0).decode(errors="replace").splitlines()
    earlier = deque(filter(wanted, parse(lines, NO_ENTRY)), number - len(found))
    found.extendleft(reversed(earlier))
    return found, True


def _bytes(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""
