"""What the login broker and its clients say to each other: one pydantic model a message, as versioned JSON.

Over its Unix socket, a client asks for one thing and the broker answers, ``Waiting`` as often as need be first::

    client                              broker
    Presence                            Granted, and the end of the socket when the connection ends
    OpenCommands                        Granted
      Run, Content ..., End               Running ..., Content ..., CommandEnded or TimedOut
    OpenFiles                           Granted
      WriteFile, Content ..., End         Done or FileError
      ReadFile                            Content ..., Done or FileError
      FileSize, IsDirectory, ...          Done or FileError
    Close                               the end of the socket

Instead of ``Granted`` the broker may answer ``Refused``. At the login, the process that starts the broker sends
`LoginOrder`; the broker sends each question (`Asked`), which is answered by `Answers`, then ``Granted`` or ``Refused``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jfr_mp.errors import ConfigError, HostError, HostUnreachable, JfrMpError, LoginNeeded
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.questions import Question

#: Raised by one when a message changes in such a way that the other side would not understand it.
VERSION: Literal[1] = 1
#: What raw bytes belong to.
Stream = Literal["stdin", "stdout", "stderr", "file"]

_ERRORS: dict[str, type[JfrMpError]] = {
    kind.__name__: kind for kind in (HostError, HostUnreachable, LoginNeeded, ConfigError, JfrMpError)
}


class BaseMessage(BaseModel):
    """What all messages have in common. Some carry secrets, so errors do not show what was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = VERSION


class LoginOrder(BaseMessage):
    """The host and how to log in, the file for new host keys, and the socket on which to listen then."""

    kind: Literal["login_order"] = "login_order"
    endpoint: Endpoint = Field(repr=False)
    known_hosts: Path
    socket: Path


class Asked(BaseMessage):
    """What a host asks the user."""

    kind: Literal["asked"] = "asked"
    question: Question


class Answers(BaseMessage):
    """What the user has typed."""

    kind: Literal["answers"] = "answers"
    answers: list[str] = Field(repr=False)


class Presence(BaseMessage):
    """The client wants to learn when the connection ends."""

    kind: Literal["presence"] = "presence"


class Close(BaseModel):
    """The connection is to be closed, for all clients; understood from clients of any version."""

    model_config = ConfigDict(frozen=True)

    version: int = VERSION
    kind: Literal["close"] = "close"


class OpenCommands(BaseMessage):
    """The client wants a session for one command."""

    kind: Literal["open_commands"] = "open_commands"


class Run(BaseMessage):
    """The command; its input follows."""

    kind: Literal["run"] = "run"
    line: str
    limit: float
    environment: dict[str, str] | None


class OpenFiles(BaseMessage):
    """The client wants a session for files."""

    kind: Literal["open_files"] = "open_files"


class WriteFile(BaseMessage):
    """Write a file of this size; its content follows."""

    kind: Literal["write_file"] = "write_file"
    path: str
    size: int


class ReadFile(BaseMessage):
    """Read at most `limit` bytes of a file from `offset` on."""

    kind: Literal["read_file"] = "read_file"
    path: str
    offset: int
    limit: int | None = None


class FileSize(BaseMessage):
    """Return the size of a file."""

    kind: Literal["file_size"] = "file_size"
    path: str


class IsDirectory(BaseMessage):
    """Return 1 if there is a directory at `path`, otherwise 0."""

    kind: Literal["is_directory"] = "is_directory"
    path: str


class RenameFile(BaseMessage):
    """Rename a file."""

    kind: Literal["rename_file"] = "rename_file"
    path: str
    new_path: str


class RemoveFile(BaseMessage):
    """Remove a file."""

    kind: Literal["remove_file"] = "remove_file"
    path: str


class Content(BaseMessage):
    """Raw bytes of an input, an output or a file; `size` is that of the whole file, if a file is read."""

    kind: Literal["content"] = "content"
    stream: Stream
    size: int = 0


class End(BaseMessage):
    """No more content follows."""

    kind: Literal["end"] = "end"


class Waiting(BaseMessage):
    """All sessions are in use; the client's turn will come."""

    kind: Literal["waiting"] = "waiting"


class Granted(BaseMessage):
    """The client has what it asked for."""

    kind: Literal["granted"] = "granted"


class Refused(BaseMessage):
    """The client cannot have what it asked for, because of an error of this class."""

    kind: Literal["refused"] = "refused"
    error: str
    text: str
    permanent: bool = False

    @classmethod
    def by(cls, error: JfrMpError) -> Refused:
        """Return the message for an error."""
        known = next(name for name, kind in _ERRORS.items() if type(error) is kind or kind is JfrMpError)
        return cls(error=known, text=str(error), permanent=isinstance(error, HostError) and error.permanent)

    def to_error(self) -> JfrMpError:
        """Return the error again."""
        error = _ERRORS.get(self.error, JfrMpError)(self.text)
        if isinstance(error, HostError):
            error.permanent = self.permanent
        return error


class Running(BaseMessage):
    """The command still runs."""

    kind: Literal["running"] = "running"


class CommandEnded(BaseMessage):
    """The command has ended."""

    kind: Literal["ended"] = "ended"
    returncode: int


class TimedOut(BaseMessage):
    """The command has exceeded its limit; what it had printed was sent before."""

    kind: Literal["took_too_long"] = "took_too_long"


class Done(BaseMessage):
    """A file operation has succeeded; `value` is its result, if it has one."""

    kind: Literal["done"] = "done"
    value: int = 0


class FileError(BaseMessage):
    """A file operation has failed."""

    kind: Literal["file_error"] = "file_error"
    errno: int | None
    text: str

    @classmethod
    def by(cls, error: OSError) -> FileError:
        """Return the message for an error."""
        return cls(errno=error.errno, text=error.strerror or str(error))

    def to_error(self) -> OSError:
        """Return the error again."""
        return OSError(self.text) if self.errno is None else OSError(self.errno, self.text)


BrokerMessage = Annotated[
    LoginOrder
    | Asked
    | Answers
    | Presence
    | Close
    | OpenCommands
    | Run
    | OpenFiles
    | WriteFile
    | ReadFile
    | FileSize
    | IsDirectory
    | RenameFile
    | RemoveFile
    | Content
    | End
    | Waiting
    | Granted
    | Refused
    | Running
    | CommandEnded
    | TimedOut
    | Done
    | FileError,
    Field(discriminator="kind"),
]
