"""Let scripts that were written for jobflow-remote run with jfr-mp, without a change.

After ``import jfr_mp.compat``, the modules of jobflow-remote resolve to jfr-mp if jobflow-remote itself is not
installed. ``python -m jfr_mp.compat SCRIPT [ARGUMENT...]`` does it for a script. A name that jfr-mp does not have is an
ImportError that says so.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_REPLACED = "jobflow_remote"
_DATA = ("FlowDoc", "FlowInfo", "JobInfo", "RemoteInfo")
_CONFIGS = ("BatchConfig", "ConnectionData", "ExecutionConfig")
_WORKERS = ("LocalWorker", "RemoteWorker", "SeparatedTransferWorker", "WorkerConfig", "Project")
_STATES = ("BatchState", "FlowState", "JobState")
_MESSAGES = ("exit_with_error_msg", "exit_with_warning_msg", "print_success_msg")
_PLUGIN_TOOLS = ("get_config_manager", "get_job_controller", "loading_spinner", *_MESSAGES)
_GROUPS = (
    *("PAUSABLE_STATES", "RUNNING_STATES", "RESETTABLE_STATES", "DELETABLE_STATES", "ERROR_STATES"),
    *("PAUSABLE_STATES_V", "RUNNING_STATES_V", "RESETTABLE_STATES_V", "short_state_mapping"),
)
_PROJECT_ERRORS = ("ConfigError", "ProjectParsingError", "ProjectUndefinedError")
_EXAMPLES = (
    *("add", "add_distributed", "add_many", "add_raise", "conditional_sum_replace"),
    *("make_list", "sleep", "value"),
)

#: For each module of jobflow-remote, the module of jfr-mp that has each of its names.
MODULES: Mapping[str, Mapping[str, str]] = {
    "": {
        "ConfigManager": "api.configuration",
        "JobController": "api.controller",
        "JobflowRemoteSettings": "config.settings:Settings",
        "SETTINGS": "config.settings:get_settings()",
        "__version__": "database.setup:LAYOUT_VERSION",
        **dict.fromkeys(("get_jobstore", "set_run_config", "submit_flow"), "api.submission"),
    },
    "cli": {},
    "cli.jf": {"app": "cli.adopted_plugins"},
    "cli.jfr_typer": {"JFRTyper": "cli.adopted_plugins"},
    "cli.utils": {
        **dict.fromkeys(_PLUGIN_TOOLS, "cli.adopted_plugins"),
        "out_console": "cli.adopted_plugins:get_console()",
    },
    "config": {"ConfigManager": "api.configuration", "Project": "api.configuration"},
    "config.base": {
        **dict.fromkeys(_CONFIGS, "config.workers"),
        **dict.fromkeys(_WORKERS, "api.configuration"),
        **dict.fromkeys(("QueueConfig", "RunnerOptions"), "config.project"),
        **dict.fromkeys(_PROJECT_ERRORS, "errors"),
        "BaseRemoteWorker": "config.workers:SshWorker",
        "LogLevel": "config.settings",
        "WorkerBase": "api.configuration:WorkerWithHost",
    },
    "config.jobconfig": dict.fromkeys(("load_job_store", "set_run_config"), "api.submission"),
    "config.manager": {"ConfigManager": "api.configuration", "ProjectData": "config.manager"},
    "config.settings": {"JobflowRemoteSettings": "config.settings:Settings"},
    "jobs": {},
    "jobs.batch": {},
    "jobs.daemon": {
        **dict.fromkeys(("DaemonManager", "DaemonStatus"), "supervisor.daemon_manager"),
        "DaemonError": "errors:JfrMpError",
        "RunningDaemonError": "errors:AlreadyRunning",
    },
    "jobs.data": {
        **dict.fromkeys(_DATA, "api.documents"),
        "JobDoc": "api.job_documents",
        "BatchDoc": "database.batches",
        "DbCollection": "api.documents",
        "DynamicResponseType": "outcomes:Added",
        "RemoteError": "errors:HostError",
        **dict.fromkeys(("IN_FILENAME", "OUT_FILENAME"), "jobdata.files"),
    },
    "jobs.graph": dict.fromkeys(("get_graph", "get_graph_elements", "get_mermaid"), "api.graph"),
    "jobs.jobcontroller": {"JobController": "api.controller"},
    "jobs.report": dict.fromkeys(("FlowTrends", "FlowsReport", "JobTrends", "JobsReport"), "api.report"),
    "jobs.runner": {"Runner": "api.runner"},
    "jobs.state": {**dict.fromkeys(_STATES, "states"), **dict.fromkeys(_GROUPS, "api.states")},
    "jobs.store": {"get_jobstore": "api.submission"},
    "jobs.submit": {"submit_flow": "api.submission"},
    "jobs.upgrade": {"DatabaseUpgrader": "api.upgrade", "UpgradeAction": "database.upgrade"},
    "remote": {},
    "remote.data": {"get_job_path": "api.utilities"},
    "utils": {},
    "utils.data": {
        **dict.fromkeys(("convert_utc_time", "suuid"), "api.utilities"),
        "check_valid_uuid": "model:is_uuid",
    },
    "utils.examples": dict.fromkeys(_EXAMPLES, "examples.jobs"),
    "utils.db": {
        "MongoLock": "database.locks",
        "LockedDocumentError": "errors:LockedError",
        "MissingDocumentError": "errors:NotFound",
        **dict.fromkeys(("FlowLockedError", "JobLockedError", "RunnerLockedError"), "errors"),
    },
}


class _Module(ModuleType):
    """A module of jobflow-remote whose names are those of jfr-mp."""

    def __getattr__(self, name: str) -> Any:
        place = MODULES[self.__name__.removeprefix(_REPLACED).removeprefix(".")].get(name)
        if place is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise ImportError(f"jfr-mp has no {self.__name__}.{name}; install jobflow-remote to use it", name=name)
        home, _, other = place.partition(":")
        found = getattr(import_module(f"jfr_mp.{home}"), (other or name).removesuffix("()"))
        return found() if other.endswith("()") else found


class _Finder(MetaPathFinder, Loader):
    """Finds the modules of `MODULES`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        package, _, below = fullname.partition(".")
        if package != _REPLACED:
            return None
        if below not in MODULES:
            raise ModuleNotFoundError(
                f"jfr-mp has no module {fullname}; install jobflow-remote to use it", name=fullname
            )
        is_package = not below or any(name.startswith(f"{below}.") for name in MODULES)
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        names = MODULES[module.__name__.removeprefix(_REPLACED).removeprefix(".")]
        module.__all__ = list(names)  # type: ignore[attr-defined]  # for `from ... import *`


def install() -> bool:
    """Make the modules of jobflow-remote resolve to jfr-mp; return False if jobflow-remote is installed."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    if PathFinder.find_spec(_REPLACED) is not None:
        return False
    sys.meta_path.append(_Finder())
    return True


install()

if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m jfr_mp.compat SCRIPT [ARGUMENT...]")
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
