"""Entries of a log: found again in the lines that `jfr_mp.logs` has written, and written in another format."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self, TextIO

from jfr_mp.logs import LogFormat, as_journal_lines, clean

#: The beginning of an entry, as `jfr_mp.logs` formats it.
_HEAD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[([A-Z]+)\] ")
#: The rest of an entry: process, pid, logger, message.
_REST = re.compile(r"(\S+) (\d+) (\S+): (.*)", re.DOTALL)
#: What Python prints of a crash, below whatever was logged before it.
_CRASH = ("Traceback (most recent call last)", "Fatal Python error")


@dataclass(frozen=True)
class LogEntry:
    """What was logged at once: a line, with the lines below it that have no time of their own.

    Parameters
    ----------
    moment
        Its time, as text that sorts by time; empty for lines at the beginning of a log that belong to no entry.
    level
        A level of `logging`.
    text
        Its lines.
    """

    moment: str
    level: int
    text: str

    @classmethod
    def at(cls, time: float | None, level: int, rest: str) -> Self:
        """Make the entry of another machine, whose text is without its time, an entry in the time of this one."""
        if time is None:
            return cls("", level, rest)
        moment = datetime.fromtimestamp(time).isoformat(" ", "milliseconds").replace(".", ",")  # noqa: DTZ006
        return cls(moment, level, f"{moment} [{logging.getLevelName(level)}] {rest}")

    @property
    def time(self) -> float | None:
        """Its time in seconds since 1970; None if it has none."""
        try:
            return datetime.fromisoformat(self.moment).timestamp()  # logs have the local time
        except ValueError:
            return None

    @property
    def rest(self) -> str:
        """Its text without the time and the level."""
        return _HEAD.sub("", self.text, count=1)

    def as_json(self, process: str) -> str:
        """Return it as one line of JSON; `process` is the name of the process in whose log it is."""
        head = _HEAD.match(self.text)
        rest = _REST.match(self.text[head.end() :]) if head else None
        pid, logger, message = (int(rest[2]), rest[3], rest[4]) if rest else (None, None, self.text)
        fields = {
            "time": self.moment.replace(",", ".").replace(" ", "T") or None,
            "level": logging.getLevelName(self.level).lower(),
            "process": process,
            "pid": pid,
            "logger": logger,
            "message": message,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


#: What comes before the first entry of a log.
NO_ENTRY = LogEntry("", logging.ERROR, "")


def parse(lines: Iterable[str], before: LogEntry) -> Generator[LogEntry]:
    """Return the entries of some lines.

    Parameters
    ----------
    lines
        Lines without their ends.
    before
        The entry to which the first lines belong if they have no time.
    """
    moment, level, text = before.moment, before.level, list[str]()
    for line in lines:
        if head := _HEAD.match(line):
            if text:
                yield LogEntry(moment, level, "\n".join(text))
            moment, level, text = head[1], logging.getLevelNamesMapping().get(head[2], logging.ERROR), []
        elif line.startswith(_CRASH) and level > logging.DEBUG:
            level = logging.ERROR
        text.append(line)
    if text:
        yield LogEntry(moment, level, "\n".join(text))


class LogOutput:
    """Where a master in the foreground shows the logs of its role processes.

    Parameters
    ----------
    stream
        The terminal, the journal or the standard output of a container.
    log_format
        How entries are written.
    label
        What comes before the names of the processes, such as ``main/``.
    """

    def __init__(self, stream: TextIO, log_format: LogFormat = LogFormat.TEXT, label: str = "") -> None:
        self._stream = stream
        self._format = log_format
        self._label = label
        self._last: dict[str, LogEntry] = {}

    def show(self, process: str, lines: list[str]) -> None:
        """Write new lines of the log of a process."""
        if not lines:
            return
        try:
            for line in self._formatted(f"{self._label}{process}", lines):
                self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError:  # the terminal was closed; everything is in the log of the process, too
            return

    def _formatted(self, process: str, lines: list[str]) -> Iterable[str]:
        if self._format is LogFormat.TEXT:
            return [f"{process} | {line}" for line in lines]
        entries = list(parse([clean(line) for line in lines], self._last.get(process, NO_ENTRY)))
        self._last[process] = entries[-1]
        if self._format is LogFormat.JSON:
            return [entry.as_json(process) for entry in entries]
        # The journal has the time.
        return [as_journal_lines(self._label + _HEAD.sub("", entry.text), entry.level) for entry in entries]
