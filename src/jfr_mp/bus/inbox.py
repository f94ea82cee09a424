"""What other threads have for a loop that waits for file descriptors, such as that of the master."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items that any thread puts in and one thread takes out; a file descriptor becomes readable when one has come.

    Use it as a context manager, which closes the file descriptor.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._open = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item; does nothing if the inbox is closed."""
        # Locked, because another file may get the number of a descriptor that is closed meanwhile.
        with self._open:
            if not self._closed:
                self._items.append(item)
                with suppress(BlockingIOError):  # the pipe is full, so the reader wakes up anyway
                    os.write(self._writing, b"!")

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self._reading

    def take(self) -> Iterator[T]:
        """Yield the items that have come, oldest first; does not wait."""
        with suppress(BlockingIOError):
            while os.read(self._reading, 4096):
                pass
        while self._items:
            yield self._items.popleft()

    def close(self) -> None:
        """Close the file descriptor."""
        with self._open:
            self._closed = True
            os.close(self._reading)
            os.close(self._writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
