"""Runs in the environment of jobflow-remote: prints its commands and public methods as JSON."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import typer.main
from jobflow_remote.cli.jf import app

CLASSES = {
    "JobController": "jobflow_remote.jobs.jobcontroller",
    "Runner": "jobflow_remote.jobs.runner",
    "ConfigManager": "jobflow_remote.config.manager",
    "DaemonManager": "jobflow_remote.jobs.daemon",
    "JobsReport": "jobflow_remote.jobs.report",
    "FlowsReport": "jobflow_remote.jobs.report",
}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    for name, command in group.commands.items():
        below = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, below)
        else:
            yield below, sorted(flag for each in command.params for flag in each.opts if flag.startswith("-"))


def methods(cls: type) -> dict[str, list[str]]:
    found = {}
    for name, member in inspect.getmembers(cls):
        if not name.startswith("_") and callable(member):
            parameters = inspect.signature(member).parameters
            found[name] = [each for each in parameters if each != "self"]
    return found


if __name__ == "__main__":
    classes = {name: methods(getattr(importlib.import_module(home), name)) for name, home in CLASSES.items()}
    print(json.dumps({"commands": dict(commands(typer.main.get_command(app))), "classes": classes}))
