"""``jfr-mp submit``: put a flow into the queue."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import OptionRow, Options, TableBuilder, with_examples
from jfr_mp.cli.completion import complete_exec_config, complete_worker
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import MAX_NUMBER, JsonOption, ProjectOption, whole_number
from jfr_mp.cli.printing import doing, print_json, print_text
from jfr_mp.cli.project_access import database_errors, job_controller
from jfr_mp.cli.waiting import TimeoutOption, exit_unless_completed, print_ends, rows_of
from jfr_mp.cli.waiting import wait as wait_for
from jfr_mp.errors import DatabaseError
from jfr_mp.logs import counted

if TYPE_CHECKING:
    from jobflow import Job

    from jfr_mp.config import Project
    from jfr_mp.model import JobInfo

#: How the jobs of a flow run: parameters of `jfr_mp.submit_flow`.
_CHOICES = (
    OptionRow(
        "worker",
        ("--worker", "-wk"),
        "The worker on which the jobs run; by default the first one.",
        str | None,
        settings={"metavar": "NAME", "autocompletion": complete_worker},
    ),
    OptionRow(
        "exec_config",
        ("--exec-config", "-ec"),
        "An execution config of the project.",
        str | None,
        settings={"metavar": "NAME", "autocompletion": complete_exec_config},
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
        print_text(f"Submitted {counted(len(db_ids), 'job')} to {project.name}: {' '.join(db_ids)}")
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
        # One job stands for its flow.
        return wait_for(controller, db_ids[:1], timeout, flows=True)


def _submit(target: str, project: Project, choices: Mapping[str, Any]) -> list[str]:
    from jfr_mp.cli.flows.flow_loading import function_names, jobs_out_of_reach, load_flow, parse_target

    where = parse_target(target)
    with doing("reading the flow"):
        from jfr_mp.api.submission import submit_flow

        flow = load_flow(where)
    remote = [job for job in jobs_out_of_reach(flow) if not _let_worker_import(job, where.home, project, choices)]
    if remote:
        warn(
            f"workers may be unable to import {', '.join(function_names(remote))}: put the module of {where.source} on "
            "the worker's PYTHONPATH (`export PYTHONPATH=...` in its pre_run), or install it there"
        )
    with doing("submitting"), database_errors(project):
        return submit_flow(flow, project=project.name, **choices)


def _let_worker_import(job: Job, home: Path, project: Project, choices: Mapping[str, Any]) -> bool:
    """Put a directory on the PYTHONPATH of a job, and return True, if the job runs on this machine."""
    from jfr_mp.config import ExecutionConfig

    own = job.config.manager_config
    worker = own.get("worker") or choices.get("worker") or next(iter(project.workers), None)
    if worker not in project.workers or not project.worker(worker).is_local:
        return False
    chosen = own.get("exec_config") or choices.get("exec_config")
    if isinstance(chosen, str) and chosen not in project.exec_config:
        return False
    config = (
        project.get_exec_config(chosen) if isinstance(chosen, str) else ExecutionConfig.model_validate(chosen or {})
    )
    # After the user's own lines, which may set PYTHONPATH; beyond the packages that they name.
    line = f'export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}"{shlex.quote(str(home))}'
    pre_run = f"{config.pre_run}\n{line}" if config.pre_run else line
    job.config.manager_config = {**own, "exec_config": config.model_copy(update={"pre_run": pre_run}).model_dump()}
    return True


def _is_running(project: Project) -> bool:
    """Return whether a master is running on any machine, or jobflow-remote's daemon; True if that cannot be told."""
    from jfr_mp.diagnosis import running_roles

    # The flow is submitted, whatever becomes of the database now.
    with suppress(DatabaseError), job_controller(project) as controller:
        return bool(running_roles(controller.db))
    return True
