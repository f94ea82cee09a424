"""Commands to masters on any machine: `pause`, `resume`, `drain`, `scale`, and options for the other commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import Options, with_examples, with_list
from jfr_mp.cli.completion import complete_worker
from jfr_mp.cli.options import JsonOption, ProjectOption, number
from jfr_mp.cli.printing import doing, print_json, print_sheet, print_text
from jfr_mp.cli.tables import Cell, Column, Sheet
from jfr_mp.errors import ExitCode
from jfr_mp.step_table import ROLES, Role

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.supervisor.control import MasterInfo
    from jfr_mp.supervisor.fleet import MasterAnswer

_STYLES = {"done": "green", "refused": "red", "unanswered": "yellow"}
#: Of the commands to masters.
EXIT_CODES = {
    "0": "every master does it",
    "1": "a master refuses it, with the reason",
    "5": "no master is running there",
    "9": "a master has not answered in time",
}


class Where(NamedTuple):
    """The masters that a command is for.

    Parameters
    ----------
    hosts
        Their machines; none for this machine.
    everywhere
        Whether it is for all machines.
    timeout
        Seconds to wait for the answers.
    """

    hosts: tuple[str, ...]
    everywhere: bool
    timeout: float

    @property
    def is_elsewhere(self) -> bool:
        """Whether machines were chosen."""
        return bool(self.hosts) or self.everywhere


def chosen_machines(
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="On this machine instead, by its host name or the id that `jfr-mp status` shows; can be repeated.",
        ),
    ] = None,
    all_hosts: Annotated[bool, typer.Option("--all-hosts", help="On all machines with a master.")] = False,
    timeout: Annotated[
        int, number("--timeout", text="How long to wait for the answer of a master.", unit="SECONDS", least=1)
    ] = 30,
) -> Where:
    """Return the masters that a command is for.

    Raises
    ------
    typer.BadParameter
        Both options were given.
    """
    if host and all_hosts:
        raise typer.BadParameter("--host and --all-hosts exclude each other")
    return Where(tuple(host or ()), all_hosts, float(timeout))


WhereOptions = Annotated[Where, Options(chosen_machines)]
PausedWorkersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        "-wk",
        metavar="NAME",
        help="Only this worker, on all machines; can be repeated.",
        autocompletion=complete_worker,
    ),
]


@with_examples(
    {
        "jfr-mp pause --host login1": "on another machine; --all-hosts for all",
        "jfr-mp pause --worker cluster": "one worker, whichever machines serve it",
    }
)
@with_list("Exit codes", EXIT_CODES)
def pause(
    *, where: WhereOptions, worker: PausedWorkersOption = None, as_json: JsonOption = False, project: ProjectOption
) -> None:
    """Stop the role processes of a master after their current steps; the master waits for `jfr-mp resume`.

    Jobs on workers go on running. With --worker, the masters go on, and begin no more jobs of that worker: what is in
    its scheduler, or in the pool of a batch worker, is brought to its end. That lasts until `jfr-mp resume --worker`,
    whichever processes stop and start.
    """
    if worker:
        _of_workers(project, where, worker, "pause", as_json=as_json)
        return
    send(project, where, "pause", as_json=as_json)


@with_list("Exit codes", EXIT_CODES)
def resume(
    *, where: WhereOptions, worker: PausedWorkersOption = None, as_json: JsonOption = False, project: ProjectOption
) -> None:
    """Start the role processes of a master again after `jfr-mp pause` or `jfr-mp drain`.

    With --worker, the masters begin the jobs of that worker again.
    """
    if worker:
        _of_workers(project, where, worker, "resume", as_json=as_json)
        return
    send(project, where, "resume", as_json=as_json)


def _of_workers(project: Project, where: Where, names: list[str], command: str, *, as_json: bool) -> None:
    from jfr_mp.supervisor import fleet

    if where.is_elsewhere:
        raise typer.BadParameter("--worker is for all machines: it excludes --host and --all-hosts")
    changed = fleet.pause_workers(project, names) if command == "pause" else fleet.resume_workers(project, names)
    is_paused = command == "pause"
    if as_json:
        print_json([{"worker": name, "paused": is_paused, "changed": name in changed} for name in names])
        return
    for name in names:
        already = "" if name in changed else ", as before"
        print_text(f"Worker {name} is {'paused' if is_paused else 'not paused'}{already}.")


@with_examples({"jfr-mp drain --all-hosts": "before an upgrade: what was begun is brought to its end"})
@with_list("Exit codes", EXIT_CODES)
def drain(*, where: WhereOptions, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Take no new jobs: the role checkout stops, and the other roles finish the jobs that are under way.

    `jfr-mp resume` ends it. If several machines have the role checkout, drain all of them.
    """
    send(project, where, "drain", as_json=as_json)


@with_examples({"jfr-mp scale transfer=4 complete=2": "this many processes from now on"})
@with_list("Exit codes", EXIT_CODES)
def scale(
    numbers: Annotated[list[str], typer.Argument(metavar="ROLE=N...", help="Roles and numbers of processes.")],
    *,
    where: WhereOptions,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Change how many processes of a role a master keeps, until it is stopped; 0 ends the role there."""
    results: list[MasterAnswer] = []
    for role, count in [_role_and_number(text) for text in numbers]:
        results += _sent(project, where, "scale", role=role.value, number=count)
    _report(results, as_json=as_json)


def _role_and_number(text: str) -> tuple[Role, int]:
    name, equals, count = text.partition("=")
    if not equals or name not in list(ROLES) or not count.isdecimal():
        raise typer.BadParameter(f"{text!r} is not of the form ROLE=N, with one of the roles {', '.join(ROLES)}")
    return Role(name), int(count)


def send(
    project: Project, where: Where, name: str, *, as_json: bool = False, file: Path | None = None, **arguments: Any
) -> None:
    """Send a command to masters, print what became of it, and exit with a code that says so.

    Parameters
    ----------
    file
        Gets the answers as JSON, if it is given.
    """
    answers = _sent(project, where, name, **arguments)
    if file is not None:
        file.write_text(json.dumps([asdict(answer) for answer in answers]) + "\n")
    _report(answers, as_json=as_json)


def done_here(masters: Sequence[MasterInfo], name: str, text: str, *, as_json: bool) -> None:
    """Print that a command was carried out on this machine."""
    if not as_json:
        typer.echo(text)
        return
    from jfr_mp.identity import host_name, this_machine
    from jfr_mp.supervisor.fleet import SHORT_ID, MasterAnswer

    here = host_name(), this_machine()[:SHORT_ID]
    answers = [MasterAnswer(*here, master.pid, name, "bus", "done", text) for master in masters]
    print_json([asdict(answer) for answer in answers])


def _sent(project: Project, where: Where, name: str, **arguments: Any) -> list[MasterAnswer]:
    from jfr_mp.supervisor import fleet

    with doing(f"waiting for the answer to {name}"):
        return fleet.command(
            project, name, hosts=where.hosts, everywhere=where.everywhere, timeout=where.timeout, **arguments
        )


def _report(results: Sequence[MasterAnswer], *, as_json: bool) -> None:
    from jfr_mp.supervisor import fleet

    if as_json:
        print_json([asdict(result) for result in results])
    else:
        print_sheet(result_sheet(results))
    if (code := fleet.exit_code(results)) is not ExitCode.OK:
        raise typer.Exit(code)


def result_sheet(results: Sequence[MasterAnswer]) -> Sheet:
    """Return the table of what became of commands."""
    titles = ("Host", "Id", "PID", "Command", "Way", "Result", "Answer")
    return Sheet(
        columns=tuple(Column(title) for title in titles),
        rows=tuple(
            (
                *map(Cell, (result.host, result.machine, str(result.pid), result.command, result.way)),
                Cell(result.outcome, style=_STYLES[result.outcome]),
                Cell(result.text),
            )
            for result in results
        ),
    )
