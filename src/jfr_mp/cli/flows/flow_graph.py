"""``jfr-mp flow graph``: how the jobs of a flow depend on each other."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.flow_choice import FlowArguments, chosen_flow, flow_info
from jfr_mp.cli.options import LongProjectOption, require_directory_of
from jfr_mp.cli.printing import print_text
from jfr_mp.cli.tables import STATE_STYLES


class Label(StrEnum):
    """What a graph shows of each job."""

    NAME = "name"
    DB_ID = "db_id"
    UUID = "uuid"
    INDEX = "index"
    STATE = "state"


def _no_server(wanted: bool) -> None:
    if wanted:
        raise typer.BadParameter("jfr-mp has no interactive graph; use --path graph.svg, or --mermaid")


@with_examples(
    {
        "jfr-mp flow graph 12": "the flow of job 12, as a tree",
        "jfr-mp flow graph 12 --path flow.svg": "a picture; needs matplotlib",
        "jfr-mp flow graph 12 --mermaid": "text for mermaid",
    }
)
def graph(
    *,
    flow: FlowArguments,
    label: Annotated[
        Label, typer.Option("--label", "-l", metavar="FIELD", help=f"What to show: {', '.join(Label)}.")
    ] = Label.NAME,
    path: Annotated[
        Path | None,
        typer.Option("--path", "-p", metavar="FILE", dir_okay=False, help="Write a picture: .png, .svg or .pdf."),
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", "-m", help="Print text for mermaid.")] = False,
    dash: Annotated[
        bool, typer.Option("--dash", "-d", hidden=True, callback=_no_server, help="Not available.")
    ] = False,
    project: LongProjectOption,
) -> None:
    """Show how the jobs of a flow depend on each other."""
    from jfr_mp.api.graph import draw, get_mermaid, text_tree

    with chosen_flow(project, flow) as (controller, uuid):
        found = flow_info(controller, uuid)
    if mermaid:
        text = get_mermaid(found)
        if path is None:
            typer.echo(text)
            return
        path.write_text(text + "\n")
    elif path is not None:
        require_directory_of(path)
        draw(found, path, label.value)
    else:
        for line, state in text_tree(found, label.value):
            print_text(line, STATE_STYLES.get(state, ""))
        return
    print_text(f"Wrote {path}")
