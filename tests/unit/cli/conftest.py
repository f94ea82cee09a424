"""What a command does to its process does not outlast a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _restored_logs() -> Iterator[None]:
    """Undo what a command does to the handlers of the root and to the level of jfr-mp."""
    root, ours = logging.getLogger(), logging.getLogger("jfr_mp")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
