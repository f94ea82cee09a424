"""The command line of a master: ``python -m jfr_mp.supervisor``, as one process writes it and the next one reads it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jfr_mp.config import LogLevel
from jfr_mp.logs import LogFormat
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project


def command_line(project: Project, roles: Mapping[Role, int], log_level: LogLevel) -> list[str]:
    """Return the command line of a master in the background; `parse` reads it."""
    # -P: a file such as queue.py in the working directory must not hide a module of Python.
    argv = [sys.executable, "-P", "-m", "jfr_mp.supervisor", "--project", project.name]
    argv += ["--metrics", project.jfr_mp.metrics] if project.jfr_mp.metrics else []
    return [*argv, "--roles", ",".join(f"{role}={count}" for role, count in roles.items()), "--log-level", log_level]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the arguments of a master; None for those of this process."""
    parser = argparse.ArgumentParser(prog="jfr_mp.supervisor", description="Run the master of a project.")
    parser.add_argument("--project", required=True)
    parser.add_argument("--roles", required=True, type=_roles, help="such as checkout=1,transfer=2")
    parser.add_argument("--metrics", help="the address at which to serve metrics")
    parser.add_argument("--log-level", type=LogLevel, default=LogLevel.INFO)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--log-format", type=LogFormat, default=LogFormat.TEXT, help="of a master in the foreground")
    parser.add_argument("--label", default="", help="what the shown log has before the names of processes")
    parser.add_argument("--again", action="store_true", help="this is a restart, in the background already")
    return parser.parse_args(arguments)


def _roles(text: str) -> dict[Role, int]:
    pairs = (part.partition("=") for part in text.split(","))
    return {Role(name): int(count or 1) for name, _, count in pairs}
