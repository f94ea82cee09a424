"""``jfr-mp health``: for the probes of a container."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.commands import with_list
from jfr_mp.cli.options import JsonOption, ProjectNameOption
from jfr_mp.cli.printing import print_json, print_text
from jfr_mp.cli.project_access import load_or_salvage
from jfr_mp.errors import ExitCode


@with_list(
    "Exit codes",
    {
        "0": "healthy",
        "5": "not live: no master is running here, or it does not answer",
        "8": "live, but not ready",
    },
)
def health(
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Ask only whether a master is running and its main loop answers.")
    ] = False,
    ready: Annotated[
        bool,
        typer.Option(
            "--ready", help="Ask also whether all role processes are running and the database answers (the default)."
        ),
    ] = False,
    as_json: JsonOption = False,
    project: ProjectNameOption,
) -> None:
    """Check the masters on this machine, for liveness and readiness probes.

    A container is to be restarted if it is not live. If it is not ready, because the database is down for example,
    restarting does not help. If the project file is broken, the master goes on with the earlier one and stays healthy.
    """
    from jfr_mp.supervisor.health import health as health_of

    if live and ready:
        raise typer.BadParameter("give either --live or --ready")
    known, broken = load_or_salvage(project)
    found = health_of(known, live_only=live, ask_database=broken is None)
    if broken is not None:
        found.problems.append(f"the project file cannot be used: {broken}")
    if as_json:
        shown = found.model_dump(exclude={"ready"} if live else set())
        print_json({"project": known.name, **shown})
    else:
        print_text("\n".join(found.problems) or ("live" if live else "ready"))
    if not found.live:
        raise typer.Exit(ExitCode.NOT_RUNNING)
    if not live and not found.ready:
        raise typer.Exit(ExitCode.CHECK_FAILED)
