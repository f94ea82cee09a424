"""``jfr-mp submit``: put a flow into the queue."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import doing, print_json
from jfr_mp.cli.session import database_errors, load_project


@with_examples(
    {
        "jfr-mp submit flow.py": "the variable flow in flow.py",
        "jfr-mp submit flow.py:make --priority 5": "what make() in flow.py returns, before other jobs",
        "jfr-mp submit my_package.flows:relax --worker cluster": "what relax() in a module returns",
    }
)
def submit(  # noqa: PLR0913 (one parameter for each option)
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py|module:callable",
            help="A Python file with a variable [bold]flow[/], or a flow, or function that returns one, in a module.",
        ),
    ],
    worker: Annotated[
        str | None, typer.Option("--worker", "-wk", metavar="NAME", help="Where the jobs run; else the first worker.")
    ] = None,
    exec_config: Annotated[
        str | None, typer.Option("--exec-config", "-ec", metavar="NAME", help="An execution config of the project.")
    ] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="Jobs of a higher priority go first.")] = 0,
    jobstore: Annotated[
        str | None, typer.Option(metavar="NAME", help="An optional JobStore of the project for the outputs.")
    ] = None,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Submit a flow and print the db_ids of its jobs.

    The flow may be a jobflow Flow or Job, a list of jobs, or a function without arguments that returns one. Either all
    of it is inserted, or nothing.
    """
    from jfr_mp.cli.loading import functions_out_of_reach, load_flow, parse_target

    chosen = load_project(project)
    where = parse_target(target)
    with doing("reading the flow"):
        from jfr_mp.api.submission import submit_flow

        flow = load_flow(where)
    if unreachable := functions_out_of_reach(flow):
        warn(
            f"a worker may be unable to import {', '.join(unreachable)}: put {where.home} on its PYTHONPATH "
            "(`export PYTHONPATH=...` in the worker's pre_run), or install the module there"
        )
    with doing("submitting"), database_errors(chosen):
        db_ids = submit_flow(
            flow,
            worker=worker,
            project=chosen.name,
            exec_config=exec_config,
            priority=priority,
            jobstore=jobstore,
        )
    if as_json:
        print_json({"project": chosen.name, "db_ids": db_ids})
    else:
        typer.echo(f"Submitted {len(db_ids)} job{'s' if len(db_ids) > 1 else ''} to {chosen.name}: {' '.join(db_ids)}")
