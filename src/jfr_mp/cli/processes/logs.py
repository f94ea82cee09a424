"""``jfr-mp logs`` and ``jfr-mp log-level``: what the processes log, and how much."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.completion import complete_job, complete_role
from jfr_mp.cli.options import JsonOption, LogLevelName, ProjectOption, number
from jfr_mp.cli.printing import print_text
from jfr_mp.cli.processes.fleet import WhereOptions, send
from jfr_mp.cli.processes.log_files import Log, Wanted, follow, last_entries
from jfr_mp.errors import JfrMpError
from jfr_mp.log_entries import LogEntry
from jfr_mp.step_table import ROLES

if TYPE_CHECKING:
    from jfr_mp.config import Project

_MASTER = "master"
_LEVELS = {
    LogLevelName.ERROR: logging.ERROR,
    LogLevelName.WARN: logging.WARNING,
    LogLevelName.INFO: logging.INFO,
    LogLevelName.DEBUG: logging.DEBUG,
}
_STYLES = {logging.ERROR: "red", logging.CRITICAL: "red", logging.WARNING: "yellow", logging.DEBUG: "dim"}


def role_name(text: str | None) -> str | None:
    """Read the name of a role, of one of its processes, or of the master.

    Raises
    ------
    typer.BadParameter
        There is no such role.
    """
    names = [_MASTER, *ROLES]
    role, _, count = (text or _MASTER).partition("-")
    if role not in names or (count and not count.isdecimal()):
        raise typer.BadParameter(
            f"{text!r} is not one of {', '.join(names)}, or a process of a role such as {next(iter(ROLES))}-1"
        )
    return text


RoleArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="ROLE",
        callback=role_name,
        autocompletion=complete_role,
        help=f"{', '.join(ROLES)}, one process of them such as {next(iter(ROLES))}-1, or {_MASTER}. All by default.",
    ),
]


@with_examples(
    {
        "jfr-mp logs": "the last entries of all logs",
        "jfr-mp logs transfer -n 100": "more entries of the transfer processes",
        "jfr-mp logs --level warn --job 12": "what went wrong with a job",
        "jfr-mp logs -f": "all logs, as they are written",
    }
)
def logs(
    *,
    role: RoleArgument = None,
    follow_them: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, and show entries as they are written.")
    ] = False,
    entries: Annotated[int, number("--lines", "-n", text="The number of the last entries to show.")] = 20,
    level: Annotated[
        LogLevelName, typer.Option("--level", "-l", metavar="LEVEL", help="Only error, or also warn, info or debug.")
    ] = LogLevelName.DEBUG,
    job: Annotated[
        str | None,
        typer.Option(
            "--job",
            "-j",
            metavar="ID",
            help="Only entries about the job of this db_id or uuid.",
            autocompletion=complete_job,
        ),
    ] = None,
    project: ProjectOption,
) -> None:
    """Show the last entries of the logs on this machine, those of all processes in the order of their time.

    An entry is a line, with the traceback below it if there is one.
    """
    wanted = Wanted(_LEVELS[level], job and _db_id(project, job))
    if follow_them:
        follow_logs(project, role, entries, wanted)
        return
    for entry in last_entries([Log(path) for path in _find_logs(project, role)], entries, wanted):
        _print(entry)


def follow_logs(project: Project, role: str | None = None, entries: int = 20, wanted: Wanted | None = None) -> None:
    """Print the last entries of logs, and go on with new ones until Ctrl-C."""
    for entry in follow(lambda: _find_logs(project, role), entries, wanted or Wanted()):
        _print(entry)


def _find_logs(project: Project, role: str | None) -> list[Path]:
    from jfr_mp.supervisor.logfile import log_files

    paths = log_files(project, role)
    if not paths:
        whose = f"of {role} " if role else ""
        raise JfrMpError(
            f"project {project.name} has no log {whose}in {project.log_dir} yet; `jfr-mp start` writes logs"
        )
    return paths


@with_examples({"jfr-mp log-level debug": "log everything", "jfr-mp log-level info": "log what matters"})
def log_level(
    level: Annotated[LogLevelName, typer.Argument(metavar="LEVEL", help="error, warn, info or debug.")],
    *,
    where: WhereOptions,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Change the log level of masters and of their role processes, while they run.

    It lasts until they are stopped; `log_level` in the project file is the level with which they start.
    """
    send(project, where, "log-level", as_json=as_json, level=level.value)


def _print(entry: LogEntry) -> None:
    print_text(entry.text, _STYLES.get(entry.level, ""))


def _db_id(project: Project, job: str) -> str:
    """Return the db_id of a job, by which logs name it."""
    from jfr_mp.cli.job_choice import JobName, chosen_job
    from jfr_mp.model import is_uuid

    if not is_uuid(job):
        return job
    with chosen_job(project, JobName(job)) as (_, found):
        return found.db_id
