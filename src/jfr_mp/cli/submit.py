"""``jfr-mp submit``: put a flow into the queue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import OptionRow, Options, TableBuilder, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import MAX_NUMBER, JsonOption, ProjectOption, whole_number
from jfr_mp.cli.printing import doing, print_json, print_text
from jfr_mp.cli.project_access import database_errors, job_controller
from jfr_mp.cli.waiting import TimeoutOption, exit_unless_completed, print_ends, rows_of
from jfr_mp.cli.waiting import wait as wait_for
from jfr_mp.errors import DatabaseError

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.model import JobInfo

#: How the jobs of a flow run: parameters of `jfr_mp.submit_flow`.
_CHOICES = (
    OptionRow(
        "worker",
        ("--worker", "-wk"),
        "The worker on which the jobs run; by default the first one.",
        str | None,
        settings={"metavar": "NAME"},
    ),
    OptionRow(
        "exec_config",
        ("--exec-config", "-ec"),
        "An execution config of the project.",
        str | None,
        settings={"metavar": "NAME"},
    ),
    OptionRow(
        "priority",
        ("--priority",),
        "Jobs of a higher priority start first.",
        int,
        0,
        {"metavar": "N", "parser": whole_number(-MAX_NUMBER)},
    ),
    OptionRow(
        "jobstore",
        ("--jobstore",),
        "An optional JobStore of the project, for the outputs.",
        str | None,
        settings={"metavar": "NAME"},
    ),
)
ChoicesOptions = Annotated[dict[str, Any], Options(TableBuilder(_CHOICES, dict))]


@with_examples(
    {
        "jfr-mp submit flow.py": "the variable flow in flow.py",
        "jfr-mp submit flow.py:make --priority 5": "what make() in flow.py returns, before other jobs",
        "jfr-mp submit my_package.flows:relax --worker cluster": "what relax() in a module returns",
    }
)
def submit(
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py|module:callable",
            help="A Python file with a variable [bold]flow[/], or a flow in a module, or a function that returns one.",
        ),
    ],
    choices: ChoicesOptions,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all jobs have ended, as `jfr-mp flow wait` does.")
    ] = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Submit a flow and print the db_ids of its jobs.

    The flow may be a jobflow Flow or Job, a list of jobs, or a function without arguments that returns one of these.
    Either all of it is inserted or nothing.
    """
    db_ids = _submit(target, project, choices)
    if not as_json:
        jobs = "1 job" if len(db_ids) == 1 else f"{len(db_ids)} jobs"
        print_text(f"Submitted {jobs} to {project.name}: {' '.join(db_ids)}")
    if not _is_running(project):
        warn("no master is running on any machine, so the jobs wait. Start one with `jfr-mp start`.")
    ended = _wait(project, db_ids, timeout) if wait else []
    if as_json:
        print_json({"project": project.name, "db_ids": db_ids, **({"jobs": rows_of(ended)} if wait else {})})
    elif wait:
        print_ends(ended)
    exit_unless_completed(ended)


def _wait(project: Project, db_ids: list[str], timeout: int | None) -> list[JobInfo]:
    with job_controller(project) as controller:
        return wait_for(controller, db_ids, timeout, flows=True)


def _submit(target: str, project: Project, choices: Mapping[str, Any]) -> list[str]:
    from jfr_mp.cli.flow_loading import functions_out_of_reach, load_flow, parse_target

    where = parse_target(target)
    with doing("reading the flow"):
        from jfr_mp.api.submission import submit_flow

        flow = load_flow(where)
    if unreachable := functions_out_of_reach(flow):
        warn(
            f"workers may be unable to import {', '.join(unreachable)}: put {where.home} on the worker's PYTHONPATH "
            "(`export PYTHONPATH=...` in its pre_run), or install the module there"
        )
    with doing("submitting"), database_errors(project):
        return submit_flow(flow, project=project.name, **choices)


def _is_running(project: Project) -> bool:
    """Return whether a master is running on any machine, or jobflow-remote's daemon; True if that cannot be told."""
    from jfr_mp.diagnosis import running_roles

    # The flow is submitted, whatever becomes of the database now.
    with suppress(DatabaseError), job_controller(project) as controller:
        return bool(running_roles(controller.db))
    return True
