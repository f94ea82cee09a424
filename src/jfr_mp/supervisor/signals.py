"""The signals of the master as something that can be waited for together with everything else."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)


class SignalInbox:
    """A file descriptor that becomes readable when a signal comes; nothing else happens in the handlers.

    Parameters
    ----------
    ignore_hangup
        Whether the end of the terminal means nothing, as for a daemon. Children then ignore it as well.
    """

    def __init__(self, *, ignore_hangup: bool) -> None:
        self._ignore_hangup = ignore_hangup
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Python writes the number of each signal into the pipe, in the C handler, whatever the main thread is doing.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _HEARD:
            ignore = self._ignore_hangup and number == signal.SIGHUP
            self._before[number] = signal.signal(number, signal.SIG_IGN if ignore else _noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self._read

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come since the last call, in their order."""
        try:
            return [signal.Signals(number) for number in os.read(self._read, 4096)]
        except BlockingIOError:
            return []


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe already, but only a handler makes Python write it."""
