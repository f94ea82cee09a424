"""The command ``log``: a master sends the last entries of its logs to another machine, in an answer of bounded size.

The answer is compressed, because the bus between machines takes messages of 64 KiB. What a user wants to see of a log
for the most part fits; otherwise the oldest entries are left out, and the answer says so.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.log_entries import LogEntry
from jfr_mp.log_reading import Log, Wanted, latest
from jfr_mp.logs import clean
from jfr_mp.supervisor.logfile import logs_in

#: The maximum number of entries, and of characters of the id of a job and of one entry.
MOST_ENTRIES, LONGEST_ID, _LONGEST_ENTRY = 1000, 64, 4000
#: Bytes at the ends of all logs together that a master searches: it must not wait, and this takes it up to 0.1 s.
_MOST_SEARCHED = 2**20
#: The maximum number of characters of an answer, and of the bytes that they stand for.
_MOST_PACKED, _MOST_UNPACKED = 48 * 2**10, 2**20


class LogArguments(BaseModel):
    """Which entries are wanted.

    Parameters
    ----------
    number
        The maximum number of the last entries.
    level
        Only entries of this level and above.
    role
        Only those of a role, of a role process such as ``transfer-2``, or of the ``master``.
    job
        Only those about the job of this db_id.
    since
        Only those from this time on, in seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(default=20, ge=1, le=MOST_ENTRIES)
    level: LogLevel = LogLevel.DEBUG
    role: str | None = Field(default=None, max_length=64)
    job: str | None = Field(default=None, max_length=LONGEST_ID)
    since: float | None = Field(default=None, allow_inf_nan=False)

    @property
    def wanted(self) -> Wanted:
        """The filter of entries."""
        since = {} if self.since is None else {"since": self.since}
        return Wanted(self.level.to_logging(), self.job, **since)


class SentEntry(BaseModel):
    """An entry on its way: its time in seconds since 1970, and its text without the time and the level."""

    time: float | None
    level: int
    text: str


class LogAnswer(BaseModel):
    """What a master answers.

    Parameters
    ----------
    entries
        The entries, in the order of their time.
    cut
        Whether there may be earlier ones that are wanted, which were not searched or do not fit.
    """

    entries: list[SentEntry]
    cut: bool = False


def answer(directory: Path, arguments: LogArguments) -> str:
    """Return the last entries of the logs in a directory as the text of an answer."""
    logs = [Log(path) for path in logs_in(directory, arguments.role)]
    most = _MOST_SEARCHED // max(len(logs), 1)
    found, whole = latest(logs, arguments.number, arguments.wanted, most)
    return _packed([_sent(entry) for entry in found], cut=not whole)


def read(text: str) -> tuple[list[LogEntry], bool]:
    """Return the entries of an answer, with the time of this machine, and whether there may be earlier ones.

    Raises
    ------
    BusError
        The answer was not understood.
    """
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(text, validate=True), _MOST_UNPACKED)
        if not unpacking.eof:
            raise ValueError("more than can be sent")
        sent = LogAnswer.model_validate_json(data)
        # Another machine may have another version of jfr-mp: nothing of it is trusted.
        return [LogEntry.at(each.time, each.level, clean(each.text)) for each in sent.entries], sent.cut
    except (ValueError, OverflowError, OSError, zlib.error) as error:
        raise BusError("the answer was not understood: are the versions of jfr-mp equal?") from error


def _sent(entry: LogEntry) -> SentEntry:
    text = clean(entry.rest)
    if len(text) > _LONGEST_ENTRY:
        text = f"{text[: _LONGEST_ENTRY // 2]}\n[...]\n{text[-_LONGEST_ENTRY // 2 :]}"
    return SentEntry(time=entry.time, level=entry.level, text=text)


def _packed(entries: Sequence[SentEntry], *, cut: bool) -> str:
    while True:
        data = LogAnswer(entries=list(entries), cut=cut).model_dump_json().encode()
        if len(data) <= _MOST_UNPACKED:
            text = base64.b64encode(zlib.compress(data)).decode()
            if len(text) <= _MOST_PACKED:
                return text
        entries, cut = entries[(len(entries) + 1) // 2 :], True
