"""Pictures that the templates draw: bars of ended jobs, and the graph of a flow."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jfr_mp.database.overview import EndedJobs, FlowMember
from jfr_mp.gui.rendering import tone

#: The spans of the throughput, with the length of a bar in seconds.
SPANS = {
    "hour": (timedelta(hours=1), 60),
    "day": (timedelta(days=1), 1800),
    "month": (timedelta(days=30), 43_200),
}
#: The phases of the life of a job, with their colours.
PHASES = {"waiting": "idle", "running": "running", "closing": "queued"}
#: Jobs of a flow that are drawn one by one; more are folded.
_MOST_SINGLE = 80
#: Folded nodes that are drawn.
_MOST_NODES = 400
#: The sizes of a graph.
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 168, 44, 20, 40, 8
#: How often the order within the layers is improved.
_SWEEPS = 4


@dataclass(frozen=True)
class Bar:
    """The jobs that ended in a part of a span, which begins at `start`."""

    start: datetime
    ended: EndedJobs

    @property
    def number(self) -> int:
        """The number of the jobs."""
        return self.ended.completed + self.ended.failed

    @property
    def seconds(self) -> float:
        """The mean time of these jobs in all phases."""
        return sum(self.ended.phases.values())

    @property
    def layers(self) -> list[tuple[str, str, float, float]]:
        """The phases with the colour, the begin and the length of each in seconds, one upon the other."""
        found, begin = [], 0.0
        for name, colour in PHASES.items():
            if length := self.ended.phases.get(name):
                found.append((name, colour, begin, length))
                begin += length
        return found


def bars(ends: Mapping[int, EndedJobs], span: timedelta, seconds: int) -> list[Bar]:
    """Return one bar for each part of a span that ends now."""
    last = int(time.time() // seconds)
    return [
        Bar(datetime.fromtimestamp(part * seconds, UTC), ends.get(part, EndedJobs()))
        for part in range(last - int(span.total_seconds()) // seconds + 1, last + 1)
    ]


def mean_phases(found: Sequence[Bar]) -> dict[str, float]:
    """Return the mean time of each phase over all jobs for which it is known."""
    means = {}
    for name in PHASES:
        known = [bar for bar in found if name in bar.ended.phases]
        if number := sum(bar.number for bar in known):
            means[name] = sum(bar.number * bar.ended.phases[name] for bar in known) / number
    return means


@dataclass(frozen=True)
class Node:
    """A job in the graph of a flow, or several of the same name and depth.

    Parameters
    ----------
    key
        Identifies it among the nodes.
    name
        The name of the jobs.
    jobs
        The jobs.
    x, y
        The upper left corner.
    """

    key: str
    name: str
    jobs: tuple[FlowMember, ...]
    x: float = 0.0
    y: float = 0.0
    width: int = _WIDTH
    height: int = _HEIGHT

    @property
    def single(self) -> FlowMember | None:
        """The job, if it is one."""
        return self.jobs[0] if len(self.jobs) == 1 else None

    @property
    def tones(self) -> list[tuple[str, float, float]]:
        """The groups of states with the place of each in the bar, as parts of one."""
        counts = Counter(tone(job.state) for job in self.jobs)
        found, begin = [], 0.0
        for name in ("done", "running", "queued", "idle", "held", "failed"):
            if share := counts[name] / len(self.jobs):
                found.append((name, begin, share))
                begin += share
        return found

    @property
    def states(self) -> str:
        """The states in words."""
        counts = Counter(job.state.name for job in self.jobs)
        return ", ".join(f"{number} {name}" if len(self.jobs) > 1 else name for name, number in counts.items())


@dataclass(frozen=True)
class Drawing:
    """The graph of a flow.

    Parameters
    ----------
    nodes, edges
        What is drawn; an edge is the path of a curve.
    width, height
        The size.
    folded
        Whether jobs of the same name and depth share a node.
    hidden
        How many nodes are not drawn.
    """

    nodes: tuple[Node, ...]
    edges: tuple[str, ...]
    width: float
    height: float
    folded: bool
    hidden: int


def drawing(members: Sequence[FlowMember]) -> Drawing:
    """Return the graph of a flow: parents above their children."""
    by_uuid: dict[str, list[FlowMember]] = defaultdict(list)
    for job in members:
        by_uuid[job.uuid].append(job)
    layer = _layers(members, by_uuid)
    folded = len(members) > _MOST_SINGLE
    groups: dict[str, list[FlowMember]] = defaultdict(list)
    node_of: dict[str, str] = {}
    for job in members:
        key = f"{layer[job.db_id]}/{job.name}" if folded else job.db_id
        groups[key].append(job)
        node_of[job.db_id] = key
    edges = {
        (node_of[parent.db_id], node_of[job.db_id])
        for job in members
        for uuid in job.parents
        for parent in by_uuid.get(uuid, ())
    }
    rows: dict[int, list[str]] = defaultdict(list)
    for key, jobs in list(groups.items())[:_MOST_NODES]:
        rows[layer[jobs[0].db_id]].append(key)
    shown = {key for keys in rows.values() for key in keys}
    edges = {(parent, child) for parent, child in edges if parent in shown and child in shown and parent != child}
    _order(rows, edges)
    nodes = _placed(rows, groups)
    widest = max((len(keys) for keys in rows.values()), default=1)
    return Drawing(
        tuple(nodes.values()),
        tuple(_curve(nodes[parent], nodes[child]) for parent, child in sorted(edges)),
        widest * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN,
        max((node.y + _HEIGHT for node in nodes.values()), default=0.0) + _MARGIN,
        folded,
        len(groups) - len(shown),
    )


def _layers(members: Sequence[FlowMember], by_uuid: Mapping[str, Sequence[FlowMember]]) -> dict[str, int]:
    """Return the depth of each job: one more than that of its deepest parent, without recursion."""
    children: dict[str, list[str]] = defaultdict(list)
    missing: dict[str, int] = {}
    for job in members:
        parents = [parent for uuid in job.parents for parent in by_uuid.get(uuid, ())]
        missing[job.db_id] = len(parents)
        for parent in parents:
            children[parent.db_id].append(job.db_id)
    depth = dict.fromkeys(missing, 0)
    waiting = [db_id for db_id, number in missing.items() if number == 0]
    while waiting:
        db_id = waiting.pop()
        for child in children[db_id]:
            depth[child] = max(depth[child], depth[db_id] + 1)
            missing[child] -= 1
            if missing[child] == 0:
                waiting.append(child)
    return depth


def _order(rows: Mapping[int, list[str]], edges: set[tuple[str, str]]) -> None:
    """Sort each layer by the middle of its neighbours in the layer before, down and up again, to cross fewer edges."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for parent, child in edges:
        above[child].append(parent)
        below[parent].append(child)
    for sweep in range(_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        place = {key: number / len(keys) for keys in rows.values() for number, key in enumerate(keys)}
        for number in sorted(rows, reverse=sweep % 2 == 1):
            keys = rows[number]
            keys.sort(key=lambda key: _middle(neighbours[key], place, place[key]))
            place |= {key: position / len(keys) for position, key in enumerate(keys)}


def _middle(neighbours: Sequence[str], place: Mapping[str, float], own: float) -> float:
    return sum(place[key] for key in neighbours) / len(neighbours) if neighbours else own


def _placed(rows: Mapping[int, Sequence[str]], groups: Mapping[str, Sequence[FlowMember]]) -> dict[str, Node]:
    widest = max((len(keys) for keys in rows.values()), default=1)
    nodes = {}
    for depth, number in enumerate(sorted(rows)):
        left = (widest - len(rows[number])) * (_WIDTH + _GAP_X) / 2 + _MARGIN
        for position, key in enumerate(rows[number]):
            x = left + position * (_WIDTH + _GAP_X)
            y = _MARGIN + depth * (_HEIGHT + _GAP_Y)
            nodes[key] = Node(key, groups[key][0].name, tuple(groups[key]), x, y)
    return nodes


def _curve(parent: Node, child: Node) -> str:
    x1, y1 = parent.x + _WIDTH / 2, parent.y + _HEIGHT
    x2, y2 = child.x + _WIDTH / 2, child.y
    bend = max((y2 - y1) / 2, 10.0)
    return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
