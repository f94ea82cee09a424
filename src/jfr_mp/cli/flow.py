"""``jfr-mp flow``: inspect flows."""

from __future__ import annotations

from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.filters import FlowFilterOptions
from jfr_mp.cli.options import JsonOption, PageOptions, ProjectOption, VerbosityOption
from jfr_mp.cli.printing import print_json, print_sheet
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import flow_sheet

app = new_group("Inspect flows.")


@command(app, "list")
@with_examples(
    {
        "jfr-mp flow list": "the last 100 flows",
        "jfr-mp flow list -s RUNNING -v": "flows in progress, with the states of their jobs",
        "jfr-mp flow list --days 7 --json": "flows of the last week, for a program",
    }
)
def list_flows(
    *,
    flows: FlowFilterOptions,
    page: PageOptions,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """List flows, the last updated first."""
    from jfr_mp.database import queries

    with job_controller(project) as controller:
        found = queries.flows_info(
            controller.db, flows, limit=page.limit, sort=[page.sort], with_jobs_info=as_json or verbosity > 0
        )
    if as_json:
        print_json([info.model_dump() for info in found])
        return
    print_sheet(flow_sheet(found, verbosity))
    if page.limit and len(found) == page.limit:
        warn(f"there may be more flows than these {page.limit}; -m 0 shows all")
