"""Prints as JSON what jobflow-remote offers: ``peer_surface.py`` its commands and the methods of its classes,
``peer_surface.py members`` the members of its documents and options. The latter runs with `jfr_mp.compat` as well.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any

CLASSES = {
    "JobController": "jobflow_remote.jobs.jobcontroller",
    "Runner": "jobflow_remote.jobs.runner",
    "ConfigManager": "jobflow_remote.config.manager",
    "DaemonManager": "jobflow_remote.jobs.daemon",
    "JobsReport": "jobflow_remote.jobs.report",
    "FlowsReport": "jobflow_remote.jobs.report",
}


#: Classes whose fields and properties are compared, by their modules.
DOCUMENTS = {
    "jobflow_remote.jobs.data": ["JobInfo", "JobDoc", "FlowInfo", "FlowDoc", "RemoteInfo", "BatchDoc", "DbCollection"],
    "jobflow_remote.jobs.state": ["JobState", "FlowState", "BatchState"],
    "jobflow_remote.jobs.report": ["JobsReport", "FlowsReport", "JobTrends", "FlowTrends"],
    "jobflow_remote.jobs.daemon": ["DaemonStatus"],
    "jobflow_remote.config.base": [
        *("Project", "QueueConfig", "RunnerOptions", "ExecutionConfig", "BatchConfig", "ConnectionData"),
        *("WorkerBase", "LocalWorker", "RemoteWorker", "SeparatedTransferWorker"),
    ],
    "jobflow_remote.config.settings": ["JobflowRemoteSettings"],
    "jobflow_remote.config.manager": ["ConfigManager", "ProjectData"],
    "jobflow_remote.utils.db": [
        *("MongoLock", "LockedDocumentError", "FlowLockedError", "JobLockedError", "RunnerLockedError"),
    ],
}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        below = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, below)
        else:
            yield below, command


def kinds(command: Any) -> dict[str, str]:
    """Return what each option of a command takes, by its flags."""
    return {flag: kind(each) for each in command.params for flag in each.opts if flag.startswith("-")}


def kind(option: Any) -> str:
    """Return whether an option is a flag, is counted, or takes a value or several."""
    if option.is_flag:
        return "flag"
    return "counted" if option.count else "several values" if option.multiple else "value"


def arguments(command: Any) -> list[int]:
    """Return how many words each argument takes; -1 for any number."""
    return [each.nargs for each in command.params if each.param_type_name == "argument"]


def methods(cls: type) -> dict[str, list[str]]:
    found = {}
    for name, member in inspect.getmembers(cls):
        if not name.startswith("_") and callable(member):
            parameters = inspect.signature(member).parameters
            found[name] = [each for each in parameters if each != "self"]
    return found


def members(cls: Any) -> list[str]:
    """Return the fields, properties and methods of a class, without those that pydantic calls to validate fields."""
    found = {*dir(cls), *getattr(cls, "model_fields", {}), *getattr(cls, "__dataclass_fields__", {})}
    decorators = getattr(cls, "__pydantic_decorators__", None)
    hooks = {*decorators.field_validators, *decorators.model_validators} if decorators else set()
    return sorted(name for name in found - hooks if not name.startswith("_"))


def surface() -> dict[str, Any]:
    import typer.main
    from jobflow_remote.cli.jf import app

    classes = {name: methods(getattr(importlib.import_module(home), name)) for name, home in CLASSES.items()}
    found = dict(commands(typer.main.get_command(app)))
    return {
        "commands": {name: sorted(kinds(command)) for name, command in found.items()},
        "kinds": {name: kinds(command) for name, command in found.items()},
        "arguments": {name: arguments(command) for name, command in found.items()},
        "classes": classes,
    }


def documents() -> dict[str, list[str]]:
    return {
        name: members(getattr(importlib.import_module(home), name))
        for home, names in DOCUMENTS.items()
        for name in names
    }


if __name__ == "__main__":
    print(json.dumps(documents() if sys.argv[1:] == ["members"] else surface()))
