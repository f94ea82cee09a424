"""``--profile``: where a command spends its time."""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable

#: The number of functions that are shown.
_FUNCTIONS = 40


def start_profile() -> Callable[[], None]:
    """Start a profile of this thread; call the result to end it and print it to standard error."""
    profile = cProfile.Profile()
    profile.enable()

    def finish() -> None:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(_FUNCTIONS)

    return finish
