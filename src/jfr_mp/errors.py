"""The errors that jfr-mp raises deliberately.

They form one tree, so that the command line catches `JfrMpError` in one place, prints its message and exits with its
exit code. A message names the thing that is wrong (file, field, job, host), says what is wrong with it, and what to do.
Any other exception that reaches the user is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Self


class ExitCode(IntEnum):
    """The exit codes of `jfr-mp`."""

    OK = 0
    #: Any error without a code of its own.
    ERROR = 1
    #: The command line itself is wrong; typer and click use 2 as well.
    USAGE = 2
    #: A settings or project file is missing, unreadable or invalid.
    CONFIG = 3
    #: The database does not answer or refused the connection.
    DATABASE = 4
    #: The process to be queried or stopped is not running.
    NOT_RUNNING = 5
    #: A process that must run only once is already running.
    ALREADY_RUNNING = 6
    #: A process did not become ready, or is not restarted after repeated failures.
    START_FAILED = 7
    #: At least one check of `project check` failed.
    CHECK_FAILED = 8
    #: Jobs that a command waits for did not end in time.
    TIMEOUT = 9
    #: A role process ended because one of its steps exceeded its limit.
    STEP_HUNG = 10
    #: The user interrupted the command (128 + SIGINT, as shells report it).
    INTERRUPTED = 130


class JfrMpError(Exception):
    """The base class of all errors of jfr-mp."""

    exit_code = ExitCode.ERROR


class ConfigError(JfrMpError):
    """A settings or project file is missing, unreadable or invalid."""

    exit_code = ExitCode.CONFIG


class ProjectUndefinedError(ConfigError):
    """There is no project, or there are several and none was chosen."""


class ProjectParsingError(ConfigError):
    """The chosen project does not exist, or its file is not valid."""


class DatabaseError(JfrMpError):
    """The queue database cannot be used as it is."""

    exit_code = ExitCode.DATABASE


class DatabaseUnavailable(DatabaseError):
    """The database does not answer."""


class DatabaseRefused(DatabaseError):
    """The database answers but refuses the credentials or the operation."""


class InvalidQuery(JfrMpError, ValueError):
    """A query of the user is not valid."""

    exit_code = ExitCode.USAGE


class BackupError(JfrMpError, RuntimeError):
    """A backup cannot be written, is damaged, or cannot be restored into this database."""


class NotInitialised(DatabaseError):
    """The database answers but has not been initialised for a project."""


class FlowMissing(DatabaseError):
    """The job belongs to no flow and therefore cannot continue."""


class SubmissionError(JfrMpError):
    """A flow was refused; nothing was inserted."""


class NotFound(JfrMpError, ValueError):
    """There is no such job, flow, worker or store."""


class NotAllowed(JfrMpError, ValueError):
    """The state of a job or flow does not allow the command; nothing was changed."""


class UnresolvableReference(JfrMpError, ValueError):
    """An input of a job refers to an output, or to a part of one, that does not exist."""


class LockedError(JfrMpError):
    """The document is locked by another process."""


def _lock_of(document: Mapping[str, Any]) -> str:
    since = document.get("lock_time")
    return f"locked by {document.get('lock_id')}" + (f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "")


class JobLockedError(LockedError):
    """The job is locked by another process."""

    @classmethod
    def from_job_doc(cls, doc: Mapping[str, Any], additional_msg: str | None = None) -> Self:
        """Return the error for the document of a locked job, with a further sentence."""
        return cls(f"job {doc.get('db_id')} is {_lock_of(doc)}" + (f": {additional_msg}" if additional_msg else ""))


class FlowLockedError(LockedError):
    """The flow is locked by another process."""

    @classmethod
    def from_flow_doc(cls, doc: Mapping[str, Any], additional_msg: str | None = None) -> Self:
        """Return the error for the document of a locked flow, with a further sentence."""
        return cls(f"flow {doc.get('uuid')} is {_lock_of(doc)}" + (f": {additional_msg}" if additional_msg else ""))


class RunnerLockedError(LockedError):
    """The document of the running runner is locked by another process."""

    @classmethod
    def from_runner_doc(cls, doc: Mapping[str, Any], additional_msg: str | None = None) -> Self:
        """Return the error for the locked record of the running runner, with a further sentence."""
        message = f"the record of the running runner is {_lock_of(doc)}; if that process has died: "
        return cls(f"{message}jfr-mp admin unlock-runner" + (f": {additional_msg}" if additional_msg else ""))


class WaitTimeout(JfrMpError):
    """The jobs that a command waits for did not end in time."""

    exit_code = ExitCode.TIMEOUT


class LeaseLost(JfrMpError):
    """The lock was lost while its holder worked; nothing was written."""


class HostError(JfrMpError):
    """A command or file operation on a host failed.

    Parameters
    ----------
    permanent
        Whether repeating is pointless, for example because a directory is not writable.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class HostUnreachable(HostError):
    """The host cannot be used now: name not found, no answer, connection lost, login refused.

    The jobs of the host wait until it answers again, without spending attempts.
    """


class LoginNeeded(HostUnreachable):
    """The host requires the user to log in first (`jfr-mp connect`)."""


class SiteLimit(HostError):
    """The site currently accepts no more jobs from this user; the job waits without spending attempts."""


class CommandTimeout(HostError):
    """A command on a host did not finish in time."""


class SchedulerError(HostError):
    """A scheduler command failed or printed output that cannot be parsed."""


class BusError(JfrMpError):
    """A master did not answer on its control bus."""


class DeliveryFailed(JfrMpError):
    """A notification could not be delivered; the message contains no secret of the target."""


class NotRunning(JfrMpError):
    """The process to be queried or stopped is not running."""

    exit_code = ExitCode.NOT_RUNNING


class AlreadyRunning(JfrMpError):
    """A process that must run only once is already running."""

    exit_code = ExitCode.ALREADY_RUNNING


class StartFailed(JfrMpError):
    """A process did not become ready."""

    exit_code = ExitCode.START_FAILED


class SplitRefused(JfrMpError):
    """The roles of a project cannot be divided among machines in this way."""

    exit_code = ExitCode.CONFIG


class EmbeddedError(JfrMpError):
    """The managed mongod cannot be found, started or stopped."""

    exit_code = ExitCode.DATABASE
