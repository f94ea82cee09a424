"""Waiting on a condition, so that no test has to guess how long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks; short beside anything that a test waits for.
LOOK_EVERY = 0.02


def wait_until(predicate: Callable[[], T], timeout: float, what: str) -> T:
    """Return the first true value of `predicate`, or fail after `timeout` seconds, saying `what` never came."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for: {what} (last seen: {value!r})")
        time.sleep(LOOK_EVERY)
    return value
