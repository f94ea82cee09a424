"""The graph of a flow: as networkx has it, as mermaid text, as a tree of text, and as a picture.

Names and results of `get_graph`, `get_graph_elements` and `get_mermaid` are those of jobflow-remote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import ConfigError
from jfr_mp.states import RUNNING_STATES, JobState

if TYPE_CHECKING:
    from networkx import DiGraph

    from jfr_mp.model import FlowInfo

#: A parent and its child, by db_id.
Edge = tuple[str, str]
Job = dict[str, Any]

_COLORS = {
    JobState.WAITING: "#bbbbbb",
    JobState.READY: "#d5f0a8",
    JobState.COMPLETED: "#4cbb17",
    JobState.PAUSED: "#f0e442",
    **dict.fromkeys(RUNNING_STATES, "#6c8cff"),
    **dict.fromkeys((JobState.REMOTE_ERROR, JobState.FAILED, JobState.STOPPED, JobState.USER_STOPPED), "#ff5c5c"),
}


def get_graph(flow: FlowInfo, label: str = "name") -> DiGraph:
    """Return the jobs of a flow as a graph, whose nodes are db_ids.

    Parameters
    ----------
    flow
        The flow, with its jobs.
    label
        The property of the jobs that becomes the attribute ``label``: name, state, uuid, db_id or index.
    """
    import networkx

    graph = networkx.DiGraph()
    jobs, edges, _, _ = get_graph_elements(flow)
    for db_id, job in jobs.items():
        # jobflow's functions that draw a graph use the attribute `name` for themselves.
        others = {key: value for key, value in job.items() if key != "name"}
        graph.add_node(db_id, **others, label=job[label], job_name=job["name"])
    graph.add_edges_from(edges)
    return graph


def get_graph_elements(flow: FlowInfo) -> tuple[dict[str, Job], list[Edge], dict[str, list[str]], list[Edge]]:
    """Return the jobs by db_id, the edges, the hosts by db_id, and the edges from a job to what replaced it.

    A job is replaced either by another job or by the jobs of a flow, which is given by its uuid.
    """
    jobs = {str(job["db_id"]): job for job in flow.iter_job_prop()}
    hosts = {db_id: job["hosts"] for db_id, job in jobs.items()}
    mapping = flow.ids_mapping
    edges = [
        (parent, db_id)
        for db_id, job in jobs.items()
        for uuid in job["parents"]
        for parent in mapping.get(uuid, {}).values()
    ]
    replaced = [
        (by_index[before], by_index[after] if _is_beside(hosts, by_index, before, after) else hosts[by_index[after]][0])
        for by_index in mapping.values()
        for before, after in zip(sorted(by_index), sorted(by_index)[1:], strict=False)
    ]
    return jobs, edges, hosts, replaced


def _is_beside(hosts: Mapping[str, Sequence[str]], by_index: Mapping[int, str], before: int, after: int) -> bool:
    """Return whether two indexes of a job are in the same innermost flow."""
    return hosts[by_index[before]][:1] == hosts[by_index[after]][:1]


def get_mermaid(flow: FlowInfo, show_subflows: bool = True) -> str:
    """Return the graph of a flow as text for mermaid.

    Parameters
    ----------
    flow
        The flow, with its jobs.
    show_subflows
        Whether the jobs of inner flows are in boxes.
    """
    jobs, edges, hosts, replaced = get_graph_elements(flow)
    lines = ["flowchart TD"]
    lines += [f"    classDef {state.value} fill:{color}" for state, color in _COLORS.items()]
    lines += [f"    {db_id}({_quoted(job['name'])})" for db_id, job in jobs.items()]
    lines += [f"    {parent} --> {child}" for parent, child in edges]
    boxes = {uuid for uuids in hosts.values() for uuid in uuids[:-1]} if show_subflows else set()
    # An edge to a flow needs its box.
    lines += [f"    {before} -.-> {after}" for before, after in replaced if after in jobs or after in boxes]
    lines += _boxes(hosts, boxes)
    lines += [f"    class {db_id} {job['state'].value}" for db_id, job in jobs.items()]
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', "#34;") + '"'


def _boxes(hosts: Mapping[str, Sequence[str]], boxes: set[str], around: str | None = None, depth: int = 1) -> list[str]:
    """Return the boxes of the flows directly within one, with their jobs and the boxes in them."""
    lines: list[str] = []
    indent = "    " * depth
    inner = {_next_inwards(uuids, around) for uuids in hosts.values()}
    for box in sorted(uuid for uuid in inner if uuid in boxes):
        lines.append(f"{indent}subgraph {box}[ ]")
        lines += [f"{indent}    {db_id}" for db_id, uuids in hosts.items() if list(uuids)[:1] == [box]]
        lines += _boxes(hosts, boxes, box, depth + 1)
        lines.append(f"{indent}end")
    return lines


def _next_inwards(uuids: Sequence[str], around: str | None) -> str | None:
    """Return the flow directly within another one, None for the outermost flow, on the way to a job."""
    outside_in = list(reversed(uuids))
    position = 0 if around is None else (outside_in.index(around) if around in outside_in else len(outside_in))
    return outside_in[position + 1] if position + 1 < len(outside_in) else None


def text_tree(flow: FlowInfo, label: str = "name") -> list[tuple[str, JobState]]:
    """Return the graph of a flow as lines of text, each with the state of its job.

    A job stands below the first of its parents; if it has others, the line names them.
    """
    jobs, edges, _, _ = get_graph_elements(flow)
    parents: dict[str, list[str]] = {db_id: [] for db_id in jobs}
    for parent, child in edges:
        parents[child].append(parent)
    children: dict[str, list[str]] = {db_id: [] for db_id in jobs}
    for child, found in parents.items():
        if found:
            children[found[0]].append(child)
    return [
        (prefix + _line(jobs[db_id], label, parents[db_id][1:]), jobs[db_id]["state"])
        for prefix, db_id in _walk([db_id for db_id, found in parents.items() if not found], children)
    ]


def _line(job: Job, label: str, others: Sequence[str]) -> str:
    shown = f"{job['db_id']} {job[label]}" if label != "db_id" else str(job["db_id"])
    also = f", also after {', '.join(others)}" if others else ""
    return f"{shown}  {job['state'].name}{also}"


def _walk(roots: Sequence[str], children: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield each job with the lines that lead to it, without recursion: a chain may have thousands of jobs."""
    waiting = [("", "", root) for root in reversed(roots)]
    while waiting:
        lead, own, db_id = waiting.pop()
        yield lead + own, db_id
        below = lead + ("" if not own else "   " if own.startswith("└") else "│  ")
        branches = [(below, "├─ ", child) for child in children[db_id][:-1]]
        branches += [(below, "└─ ", child) for child in children[db_id][-1:]]
        waiting += reversed(branches)


def draw(flow: FlowInfo, path: Path, label: str = "name") -> None:
    """Write a picture of the graph of a flow; the ending of the path gives the format, such as .png, .svg or .pdf.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or does not know the format.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError("a picture needs matplotlib: pip install matplotlib, or use --mermaid") from error
    from networkx import draw_networkx

    graph = get_graph(flow, label)
    position, size = _layers(graph)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    draw_networkx(
        graph,
        position,
        ax=axes,
        labels={db_id: f"{db_id}\n{text}" for db_id, text in graph.nodes(data="label")},
        node_color=[_COLORS[state] for _, state in graph.nodes(data="state")],
        node_size=1500,
        node_shape="s",
        font_size=7,
        edge_color="#666666",
    )
    axes.margins(0.15)
    try:
        figure.savefig(path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _layers(graph: DiGraph) -> tuple[dict[str, tuple[float, float]], tuple[float, float]]:
    """Return a position for each job, parents above children, and the size of the picture in inches."""
    from networkx import topological_generations

    layers = list(topological_generations(graph))
    position = {
        db_id: (number - (len(layer) - 1) / 2, -float(depth))
        for depth, layer in enumerate(layers)
        for number, db_id in enumerate(layer)
    }
    widest = max((len(layer) for layer in layers), default=1)
    return position, (min(1.5 * widest + 1.5, 60.0), min(1.2 * len(layers) + 1.2, 60.0))
