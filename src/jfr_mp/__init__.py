"""jfr-mp: run jobflow workflows on clusters, with one supervised process per concern.

This module is the public interface. Names are imported on first use, so that the command line starts without importing
jobflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jfr_mp.api.configuration import ConfigManager
    from jfr_mp.api.controller import JobController
    from jfr_mp.api.events import events, events_async
    from jfr_mp.api.runner import Runner
    from jfr_mp.api.submission import get_jobstore, set_run_config, submit_flow
    from jfr_mp.api.waiting import wait_for

__version__ = "0.1.0"

__all__ = [
    "ConfigManager",
    "JobController",
    "Runner",
    "events",
    "events_async",
    "get_jobstore",
    "set_run_config",
    "submit_flow",
    "wait_for",
]

_HOMES = {
    "ConfigManager": "api.configuration",
    "JobController": "api.controller",
    "Runner": "api.runner",
    "events": "api.events",
    "events_async": "api.events",
    "get_jobstore": "api.submission",
    "set_run_config": "api.submission",
    "submit_flow": "api.submission",
    "wait_for": "api.waiting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
