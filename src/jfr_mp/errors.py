"""Every error that jfr-mp raises on purpose.

One tree, so that the command line catches `JfrMpError` in one place, prints its text and leaves with its exit code. A
message names the thing that is wrong (file, field, job, host), says what is wrong with it and what to do about it.
Anything outside this tree that reaches the user is a bug.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status of `jfr-mp` means."""

    OK = 0
    #: Something went wrong that has no code of its own.
    ERROR = 1
    #: The command line itself is wrong; typer and click use 2 as well.
    USAGE = 2
    #: A settings or project file is missing, unreadable or invalid.
    CONFIG = 3
    #: The database does not answer or refuses us.
    DATABASE = 4
    #: Nothing is running that could be asked or stopped.
    NOT_RUNNING = 5
    #: Something is running that must not run twice.
    ALREADY_RUNNING = 6
    #: A process did not become ready, or stopped for good.
    START_FAILED = 7
    #: At least one check of `project check` failed.
    CHECK_FAILED = 8
    #: The user interrupted the command (128 + SIGINT, as shells report it).
    INTERRUPTED = 130


class JfrMpError(Exception):
    """The root of all our errors."""

    exit_code = ExitCode.ERROR


class ConfigError(JfrMpError):
    """A settings or project file is missing, unreadable or invalid."""

    exit_code = ExitCode.CONFIG


class ProjectUndefinedError(ConfigError):
    """There is no project, or several and none was chosen."""


class ProjectParsingError(ConfigError):
    """The chosen project does not exist or its file is not valid."""


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


class NotInitialised(DatabaseError):
    """The database answers but was never prepared for a project."""


class FlowMissing(DatabaseError):
    """A job is in no flow, so that it cannot go on."""


class SubmissionError(JfrMpError):
    """A flow was refused; nothing of it was inserted."""


class LockedError(JfrMpError):
    """A document is locked by somebody else."""


class JobLockedError(LockedError):
    """The job is locked by somebody else."""


class FlowLockedError(LockedError):
    """The flow is locked by somebody else."""


class RunnerLockedError(LockedError):
    """The document of the running runner is locked by somebody else."""


class LeaseLost(JfrMpError):
    """The lock was taken away while its holder worked; nothing was written."""


class HostError(JfrMpError):
    """A command or file operation on a host failed.

    Parameters
    ----------
    permanent
        True where repeating cannot help, such as a directory that may not be written.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class HostUnreachable(HostError):
    """The host itself cannot be worked with now: not found, not answering, connection lost, login refused.

    No job is to blame: its jobs wait without spending attempts until the host answers again.
    """


class LoginNeeded(HostUnreachable):
    """The host wants a person to log in first (`jfr-mp connect`)."""


class SiteLimit(HostError):
    """The site accepts no more jobs of this user now; waiting helps, and no attempt is spent."""


class CommandTimeout(HostError):
    """A command on a host did not end in time."""


class SchedulerError(HostError):
    """A scheduler command failed or printed what nobody understands."""


class BusError(JfrMpError):
    """A master did not answer on its control bus."""


class NotRunning(JfrMpError):
    """Nothing is running that could be asked or stopped."""

    exit_code = ExitCode.NOT_RUNNING


class AlreadyRunning(JfrMpError):
    """Something is running that must not run twice."""

    exit_code = ExitCode.ALREADY_RUNNING


class StartFailed(JfrMpError):
    """A process did not become ready."""

    exit_code = ExitCode.START_FAILED


class EmbeddedError(JfrMpError):
    """The managed mongod cannot be found, started or stopped."""

    exit_code = ExitCode.DATABASE
