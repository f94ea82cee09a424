"""``jfr-mp logs`` and ``jfr-mp log-level``: what the processes log, and how much."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.commands import Options, with_examples, with_list
from jfr_mp.cli.completion import complete_job, complete_role
from jfr_mp.cli.jobs.events import moment
from jfr_mp.cli.options import JsonOption, LogLevelName, ProjectOption, number
from jfr_mp.cli.printing import doing, print_text
from jfr_mp.cli.processes.fleet import Where, WhereOptions, send
from jfr_mp.errors import ExitCode, JfrMpError
from jfr_mp.log_entries import LogEntry
from jfr_mp.log_reading import Log, Wanted, follow, last_entries
from jfr_mp.logs import clean
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


class EntryChoice(NamedTuple):
    """Which entries are shown: the last so many, of a level and above, about a job, from a time on."""

    number: int
    level: LogLevelName
    job: str | None
    since: datetime | None


def chosen_entries(
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
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="TIME",
            parser=moment,
            help="Only entries from this time on, or of the last 30m, 12h or 7d.",
        ),
    ] = None,
) -> EntryChoice:
    """Return which entries are shown."""
    return EntryChoice(entries, level, job, since)


EntryOptions = Annotated[EntryChoice, Options(chosen_entries)]


@with_examples(
    {
        "jfr-mp logs": "the last entries of all logs",
        "jfr-mp logs transfer -n 100": "more entries of the transfer processes",
        "jfr-mp logs --level warn --job 12": "what went wrong with a job",
        "jfr-mp logs -f": "all logs, as they are written",
        "jfr-mp logs --all-hosts --level warn --since 1h": "what went wrong on any machine",
    }
)
@with_list(
    "Exit codes",
    {
        "0": "the logs are shown",
        "5": "no master is running on a machine that --host names",
        "9": "the log of a machine is missing, with the reason; those of others are shown",
    },
)
def logs(
    *,
    role: RoleArgument = None,
    follow_them: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, and show entries as they are written.")
    ] = False,
    shown: EntryOptions,
    where: WhereOptions,
    project: ProjectOption,
) -> None:
    """Show the last entries of the logs on this machine, those of all processes in the order of their time.

    An entry is a line, with the traceback below it if there is one. With --host or --all-hosts, the masters of other
    machines send theirs, as answers of limited size: each entry begins with the host name, and has the time of this
    machine's zone.
    """
    if where.is_elsewhere and follow_them:
        raise typer.BadParameter("--follow shows the logs of this machine: it excludes --host and --all-hosts")
    shown = shown._replace(job=shown.job and _db_id(project, shown.job))
    if where.is_elsewhere:
        _show_others(project, where, role, shown)
        return
    wanted = Wanted(_LEVELS[shown.level], shown.job, shown.since.timestamp() if shown.since else -math.inf)
    if follow_them:
        follow_logs(project, role, shown.number, wanted)
        return
    for entry in last_entries([Log(path) for path in _find_logs(project, role)], shown.number, wanted):
        _print(entry)


def _show_others(project: Project, where: Where, role: str | None, shown: EntryChoice) -> None:
    from jfr_mp.config import LogLevel
    from jfr_mp.supervisor.fleet_log import log_of
    from jfr_mp.supervisor.log_order import LONGEST_ID, MOST_ENTRIES, LogArguments

    if not 1 <= shown.number <= MOST_ENTRIES:
        raise typer.BadParameter(f"with --host and --all-hosts, --lines is between 1 and {MOST_ENTRIES}")
    if shown.job and len(shown.job) > LONGEST_ID:
        raise typer.BadParameter(f"{shown.job[:LONGEST_ID]!r}... is no db_id")
    since = shown.since.timestamp() if shown.since else None
    wanted = LogArguments(number=shown.number, level=LogLevel(shown.level.value), role=role, job=shown.job, since=since)
    with doing("waiting for the logs of other machines"):
        found = log_of(project, wanted, hosts=where.hosts, everywhere=where.everywhere, timeout=where.timeout)
    for host, entry in found.entries:
        _print(entry, host)
    for host in found.cut:
        _tell(f"{host} may have earlier entries: it searches and sends the end of its logs only.")
    for log in found.missing:
        _tell(f"{log.host} {log.machine}: its log is missing: {log.why}")
    if found.missing:
        raise typer.Exit(ExitCode.TIMEOUT)


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


def _tell(text: str) -> None:
    typer.echo(clean(text), err=True)


def _print(entry: LogEntry, host: str = "") -> None:
    text = "\n".join(f"{host} | {line}" for line in entry.text.split("\n")) if host else entry.text
    print_text(text, _STYLES.get(entry.level, ""))


def _db_id(project: Project, job: str) -> str:
    """Return the db_id of a job, by which logs name it."""
    from jfr_mp.cli.job_choice import JobName, chosen_job
    from jfr_mp.model import is_uuid

    if not is_uuid(job):
        return job
    with chosen_job(project, JobName(job)) as (_, found):
        return found.db_id
