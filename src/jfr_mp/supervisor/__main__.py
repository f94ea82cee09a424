"""``python -m jfr_mp.supervisor``: a master as a process of its own, in the background or not."""

from __future__ import annotations

import argparse
import json
import os
import sys

from jfr_mp.bus.paths import RunDir
from jfr_mp.config import ConfigManager, LogLevel
from jfr_mp.errors import ExitCode, JfrMpError
from jfr_mp.step_table import Role
from jfr_mp.supervisor.session import run_master


def main(arguments: list[str] | None = None) -> int:
    """Run a master; in the background, say one line on standard output about how its start went."""
    options = _parse(arguments)
    if not options.foreground:
        _detach()
    try:
        return run_master(
            ConfigManager().get_project(options.project),
            options.roles,
            log_level=options.log_level,
            foreground=options.foreground,
            on_up=_foreground_is_up if options.foreground else _daemon_is_up,
        )
    except JfrMpError as error:
        if options.foreground:
            sys.stderr.write(f"{error}\n")
        else:
            _say({"error": str(error), "kind": type(error).__name__})
        return error.exit_code
    except BrokenPipeError:
        # Whoever started us was interrupted: a start that nobody waits for any more is not wanted.
        return ExitCode.INTERRUPTED


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="jfr_mp.supervisor", description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--roles", required=True, type=_roles, help="such as checkout=1,transfer=2")
    parser.add_argument("--log-level", type=LogLevel, default=LogLevel.INFO)
    parser.add_argument("--foreground", action="store_true")
    return parser.parse_args(arguments)


def _roles(text: str) -> dict[Role, int]:
    pairs = (part.partition("=") for part in text.split(","))
    return {Role(name): int(count or 1) for name, _, count in pairs}


def _detach() -> None:
    """Leave the process that started us and its terminal; there is no thread yet that a fork would lose."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _daemon_is_up(run_dir: RunDir) -> None:
    _say({"run_dir": str(run_dir.path), "pid": os.getpid()})


def _foreground_is_up(run_dir: RunDir) -> None:
    """Say nothing: the log says it."""


def _say(report: dict[str, object]) -> None:
    """Tell the process that waits at the other end of standard output, and let go of it."""
    try:
        os.write(sys.stdout.fileno(), json.dumps(report).encode() + b"\n")
    finally:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    raise SystemExit(main())
