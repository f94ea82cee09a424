"""Every command, option, method and parameter of jobflow-remote is here, except those that a file lists."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jfr_mp.cli.app import app
from tests.interop.peer_surface import arguments, kinds
from tests.support.processes import ROOT, run

#: What is missing, with the reason; five entries at most.
MISSING = Path(__file__).with_name("missing.json")
OURS = {
    "JobController": "api.controller",
    "Runner": "api.runner",
    "ConfigManager": "api.configuration",
    "JobsReport": "api.report",
    "FlowsReport": "api.report",
    "DaemonManager": "supervisor.daemon_manager",
}


@pytest.fixture(scope="module")
def theirs(peer_python: Path) -> dict[str, Any]:
    return _walk([str(peer_python)], "surface")


def _walk(python: list[str], what: str) -> dict[str, Any]:
    done = run([*python, str(ROOT / "tests" / "interop" / "peer_surface.py"), what], env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _missing_flags(name: str, flags: list[str]) -> list[str]:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            return [name]
    # Its groups say --tree, and some of its options have been deprecated for long.
    known = {flag for each in command.params for flag in each.opts}
    return [f"{name} {flag}" for flag in flags if flag not in known]


def _missing_parameters(name: str, methods: dict[str, list[str]]) -> list[str]:
    if name not in OURS:
        return [name]
    cls = getattr(importlib.import_module(f"jfr_mp.{OURS[name]}"), name)
    missing = []
    for method, parameters in methods.items():
        found = getattr(cls, method, None)
        if found is None:
            missing.append(f"{name}.{method}")
            continue
        known = inspect.signature(found).parameters
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
            missing += [f"{name}.{method}({each})" for each in parameters if each not in known]
    return missing


def missing(theirs: dict[str, Any]) -> list[str]:
    """Return what jobflow-remote has and jfr-mp does not."""
    flags = [each for name, flags in theirs["commands"].items() for each in _missing_flags(name, flags)]
    parameters = [each for name, methods in theirs["classes"].items() for each in _missing_parameters(name, methods)]
    return sorted([*flags, *parameters])


def test_nothing_is_missing_that_is_not_listed(theirs: dict[str, Any]) -> None:
    # Given what jobflow-remote offers; enough of it to know that the walk works
    assert len(theirs["commands"]) > 60
    assert len(theirs["classes"]["JobController"]) > 80

    # Then all of it is here, except what the file lists
    assert sorted(set(missing(theirs)) - set(json.loads(MISSING.read_text()))) == []


#: Flags of jfr-mp to choose roles; a number behind them is understood as jobflow-remote does.
NUMBERS = {"runner start": {"--transfer", "-t", "--complete", "-com"}}


def test_options_and_arguments_take_what_they_take_there(theirs: dict[str, Any]) -> None:
    # Given the commands that both have
    root: Any = typer.main.get_command(app)
    differences = []
    for name, expected in theirs["kinds"].items():
        command: Any = root
        for word in name.split():
            command = command.commands[word]
        # When their options and arguments are compared, then a line that was written for one is read alike by the other
        ours = kinds(command)
        skipped = NUMBERS.get(name, ())
        differences += [
            f"{name} {flag}: {kind} there, {ours.get(flag)} here"
            for flag, kind in expected.items()
            if flag not in skipped and ours.get(flag) != kind
        ]
        if arguments(command) != theirs["arguments"][name]:
            differences.append(f"{name}: {theirs['arguments'][name]} there, {arguments(command)} here")
    assert differences == []


def test_the_page_about_the_change_is_up_to_date(peer_python: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "command_table.py"), "--check"]
    done = run(script, env={**os.environ, "JFR_MP_PEER_PYTHON": str(peer_python)}, timeout=60)
    assert done.returncode == 0, done.stderr


def test_documents_and_options_have_all_members(peer_python: Path) -> None:
    # Given the members of the classes that scripts handle, as the same program finds them in both packages
    theirs = _walk([str(peer_python)], "members")
    ours = _walk([sys.executable, "-m", "jfr_mp.compat"], "members")
    assert len(theirs) > 20

    # Then ours have all of theirs
    assert [f"{name}.{member}" for name, found in theirs.items() for member in found if member not in ours[name]] == []


def test_what_is_missing_has_a_reason() -> None:
    missing = json.loads(MISSING.read_text())
    assert len(missing) <= 5
    assert all(len(reason) > 20 for reason in missing.values())
