"""What is wrong with a deployment, as far as the registry tells: what is missing, odd or ghostly, and its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jfr_mp.logs import counted
from jfr_mp.step_table import Role, steps_of

if TYPE_CHECKING:
    from jfr_mp.database.paused_workers import PausedWorker
    from jfr_mp.database.processes import ProcessRecord

#: Seconds by which the clock of a machine may differ from that of the database server.
_CLOCK_OFFSET = 2.0


@dataclass(frozen=True)
class DeploymentFinding:
    """One thing that is wrong.

    Parameters
    ----------
    kind
        ``missing``: a role runs nowhere, for example. ``odd``: processes differ that should be equal. ``ghost``: a
        process that does not answer, or has no master.
    text
        What is wrong.
    cure
        The command that mends it, or what the user has to do.
    """

    kind: Literal["missing", "odd", "ghost"]
    text: str
    cure: str


@dataclass(frozen=True)
class Overview:
    """The registry at one time.

    Parameters
    ----------
    records
        All records.
    silence
        Seconds since the last heartbeat of each, by its id.
    lease_ttl
        Seconds without a heartbeat after which a process counts as dead.
    lost_jobs
        How many jobs wait for files on a machine that no process of the registry is on.
    lost
        The masters that were evicted because they were not heard of, and whose machines have had none since.
    paused_workers
        The workers that users have paused.
    """

    records: Sequence[ProcessRecord]
    silence: Mapping[str, float]
    lease_ttl: float
    lost_jobs: int = 0
    lost: Sequence[ProcessRecord] = ()
    paused_workers: Sequence[PausedWorker] = ()

    def masters(self) -> list[ProcessRecord]:
        """Return the masters that are heard of."""
        return [record for record in self.records if record.kind == "master" and self.is_heard(record)]

    def roles(self) -> list[ProcessRecord]:
        """Return the role processes, and runners without a master, that are heard of."""
        return [record for record in self.records if record.kind == "role" and self.is_heard(record)]

    def is_heard(self, record: ProcessRecord) -> bool:
        """Return whether a process has renewed its lease."""
        return self.silence.get(record.id, 0.0) <= self.lease_ttl


def findings(overview: Overview) -> list[DeploymentFinding]:
    """Return what is wrong with a deployment; nothing, if no master is running at all."""
    return [finding for rule in _RULES for finding in rule(overview)] if overview.records else []


def _roles_that_run_nowhere(overview: Overview) -> Iterator[DeploymentFinding]:
    held = {master.host: master.state for master in overview.masters() if master.state in ("PAUSED", "DRAINING")}
    running = {role for record in overview.roles() for role in record.roles}
    for role in (role for role in Role if role not in running and overview.masters()):
        text = f"the role {role} runs nowhere: {_consequence(role)}"
        if held:
            host, state = next(iter(held.items()))
            yield DeploymentFinding(
                "missing", f"{text}; the master on {host} is {state}", f"jfr-mp resume --host {host}"
            )
        else:
            yield DeploymentFinding("missing", text, f"jfr-mp start --{role}")


def _consequence(role: Role) -> str:
    sources = dict.fromkeys(state.name for step in steps_of(role) for state in step.sources)
    return f"jobs stay {' or '.join(sources)}"


def _versions(overview: Overview) -> Iterator[DeploymentFinding]:
    yield from _differences(overview, lambda record: record.version, "versions of jfr-mp", "install one version, then")
    yield from _differences(
        overview, lambda record: ".".join(record.python.split(".")[:2]), "versions of Python", "use one version, then"
    )


def _configurations(overview: Overview) -> Iterator[DeploymentFinding]:
    yield from _differences(overview, lambda record: record.config, "project files", "make the files equal, then")


def _differences(
    overview: Overview, value_of: Callable[[ProcessRecord], str], what: str, cure: str
) -> Iterator[DeploymentFinding]:
    values: dict[str, list[str]] = {}
    for master in overview.masters():
        if value := value_of(master):
            values.setdefault(value, []).append(_name(master))
    if len(values) > 1:
        shown = "; ".join(f"{value} on {', '.join(names)}" for value, names in values.items())
        yield DeploymentFinding(
            "odd", f"the masters have different {what}: {shown}", f"{cure} jfr-mp restart --all-hosts"
        )


def _clocks(overview: Overview) -> Iterator[DeploymentFinding]:
    for master in overview.masters():
        if master.clock_offset is not None and abs(master.clock_offset) > _CLOCK_OFFSET:
            direction = "ahead of" if master.clock_offset > 0 else "behind"
            text = f"the clock of {_name(master)} is {abs(master.clock_offset):.0f} s {direction} that of the database"
            yield DeploymentFinding("odd", text, f"synchronise the clock of {master.host}, with NTP for example")


def _equal_names(overview: Overview) -> Iterator[DeploymentFinding]:
    machines: dict[str, set[str]] = {}
    for master in overview.masters():
        machines.setdefault(master.host, set()).add(master.machine[:8])
    for host, ids in machines.items():
        if len(ids) > 1:
            text = f"{len(ids)} machines have the host name {host}: {', '.join(sorted(ids))}"
            yield DeploymentFinding("odd", text, "give them different names, or choose them by these ids with --host")


def _silent(overview: Overview) -> Iterator[DeploymentFinding]:
    for record in overview.records:
        silence = overview.silence.get(record.id, 0.0)
        if record.kind == "master" and silence > overview.lease_ttl / 2:
            text = f"the master on {_name(record)} has been silent for {silence:.0f} s: it is off, cut off or hangs"
            rescued = "nothing: other processes take over its jobs" if overview.roles() else "jfr-mp start"
            yield DeploymentFinding("ghost", text, rescued)
    for record in overview.lost:
        text = f"the master on {_name(record)} was lost, its last heartbeat was at {record.heartbeat:%F %T} UTC"
        yield DeploymentFinding("ghost", text, f"look at {record.host}; start it again there with jfr-mp start")


def _without_master(overview: Overview) -> Iterator[DeploymentFinding]:
    with_master = {master.machine for master in overview.masters()}
    for record in overview.roles():
        if record.name != "runner" and record.machine and record.machine not in with_master:
            text = f"{record.name} (pid {record.pid}) on {_name(record)} has no master and goes on by itself"
            yield DeploymentFinding("ghost", text, f"on {record.host}: kill {record.pid}")


def _lost_jobs(overview: Overview) -> Iterator[DeploymentFinding]:
    if overview.lost_jobs:
        text = (
            f"{counted(overview.lost_jobs, 'job')} waiting for files on a machine on which no role process is running"
        )
        yield DeploymentFinding("missing", text, "jfr-mp start on that machine; or jfr-mp job rerun, if it is lost")


def _name(record: ProcessRecord) -> str:
    return f"{record.host} ({record.machine[:8]})" if record.machine else record.host


_RULES: tuple[Callable[[Overview], Iterator[DeploymentFinding]], ...] = (
    _roles_that_run_nowhere,
    _lost_jobs,
    _versions,
    _configurations,
    _clocks,
    _equal_names,
    _silent,
    _without_master,
)
