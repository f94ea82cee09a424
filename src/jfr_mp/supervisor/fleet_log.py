"""The log of all machines: this one's is read from its files, and the masters of others are asked for theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.database import processes
from jfr_mp.errors import BusError, DatabaseError, NotRunning
from jfr_mp.identity import host_name, this_machine
from jfr_mp.log_reading import Log, last_entries
from jfr_mp.supervisor import fleet, log_order
from jfr_mp.supervisor.logfile import host_of, log_files

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.log_entries import LogEntry
    from jfr_mp.supervisor.fleet import MasterAddress, MasterAnswer
    from jfr_mp.supervisor.log_order import LogArguments


@dataclass(frozen=True)
class MissingLog:
    """A machine whose log is not shown, with the reason; without an id for all machines but this one."""

    host: str
    machine: str
    why: str


@dataclass(frozen=True)
class FleetLog:
    """The last entries of the logs of some machines.

    Parameters
    ----------
    entries
        The entries in the order of their time, each with the host name of its machine.
    missing
        The machines whose logs are not among them.
    cut
        The host names of machines that may have earlier entries, which their masters did not search or could not send.
    """

    entries: tuple[tuple[str, LogEntry], ...] = ()
    missing: tuple[MissingLog, ...] = ()
    cut: tuple[str, ...] = ()


def log_of(
    project: Project,
    wanted: LogArguments,
    *,
    hosts: Collection[str] = (),
    everywhere: bool = False,
    timeout: float = 30.0,
) -> FleetLog:
    """Return the last entries of the logs of machines; see `jfr_mp.supervisor.fleet.command` for the parameters.

    The log of this machine needs no master.

    Raises
    ------
    NotRunning
        No master is running on another machine that `hosts` names.
    NotAllowed
        Several machines have one of the names.
    DatabaseError
        Other machines are named, and the database cannot be used.
    """
    others = log_elsewhere(project, wanted, hosts=hosts, everywhere=everywhere, timeout=timeout)
    if everywhere or not hosts or any(_is_here(host) for host in hosts):
        return joined([log_here(project, wanted), others], wanted.number)
    return others


def log_here(project: Project, wanted: LogArguments) -> FleetLog:
    """Return the last entries of the logs on this machine, or of those in `log_dir` if it has none."""
    by_host: dict[str, list[Log]] = {}
    for path in log_files(project, wanted.role):
        by_host.setdefault(host_of(project, path), []).append(Log(path))
    found = [
        FleetLog(tuple((host, entry) for entry in last_entries(logs, wanted.number, wanted.wanted)))
        for host, logs in by_host.items()
    ]
    return joined(found, wanted.number)


def log_elsewhere(
    project: Project, wanted: LogArguments, *, hosts: Collection[str] = (), everywhere: bool = True, timeout: float
) -> FleetLog:
    """Return the last entries of the logs on other machines; see `log_of`."""
    if not hosts and not everywhere:
        return FleetLog()
    try:
        with fleet.database(project, needed=True) as db:
            assert db is not None
            there = [each for each in _masters(project, db, hosts, everywhere=everywhere) if each.run_dir is None]
            answers = fleet.ask(project, db, there, "log", timeout, wanted.model_dump(mode="json"))
            without_master = _without_master(project, db, there) if everywhere else []
    except DatabaseError as error:
        if not everywhere:
            raise
        return FleetLog(missing=(MissingLog("other machines", "", str(error)),))
    return joined([*map(_read, answers), FleetLog(missing=_unheard(answers, without_master))], wanted.number)


def joined(logs: Iterable[FleetLog], number: int) -> FleetLog:
    """Return the last entries of several logs; one that two machines have read in a shared `log_dir` is there once."""
    logs = list(logs)
    once = dict.fromkeys(pair for log in logs for pair in log.entries)
    entries = sorted(once, key=lambda pair: pair[1].moment)[-number:]
    missing = dict.fromkeys(each for log in logs for each in log.missing)
    return FleetLog(tuple(entries), tuple(missing), tuple(sorted({host for log in logs for host in log.cut})))


def _is_here(host: str) -> bool:
    return host == host_name() or (len(host) >= fleet.SHORT_ID and this_machine().startswith(host))


def _masters(
    project: Project, db: QueueDatabase, hosts: Collection[str], *, everywhere: bool
) -> Iterable[MasterAddress]:
    """Return the masters of machines; none if this machine has none, or none has one."""
    found: dict[MasterAddress, None] = {}
    for names in [()] if everywhere else [(host,) for host in hosts]:
        try:
            found |= dict.fromkeys(fleet.targets(project, db, names, everywhere=everywhere))
        except NotRunning:
            if names and not _is_here(names[0]):
                raise
    return found


def _read(answer: MasterAnswer) -> FleetLog:
    if answer.outcome != "done":
        return FleetLog()
    try:
        entries, cut = log_order.read(answer.text)
    except BusError as error:
        return FleetLog(missing=(MissingLog(answer.host, answer.machine, str(error)),))
    return FleetLog(tuple((answer.host, entry) for entry in entries), (), (answer.host,) if cut else ())


def _unheard(answers: Iterable[MasterAnswer], without_master: Iterable[MissingLog]) -> tuple[MissingLog, ...]:
    """Return the machines of which no master has sent its log."""
    answers = list(answers)
    heard = {each.machine for each in answers if each.outcome == "done"}
    missing = {
        each.machine: MissingLog(each.host, each.machine, each.text) for each in answers if each.machine not in heard
    }
    return (*missing.values(), *without_master)


def _without_master(project: Project, db: QueueDatabase, masters: Iterable[MasterAddress]) -> list[MissingLog]:
    """Return the other machines that cannot answer, because they have no master."""
    known = {master.machine for master in masters} | {this_machine()}
    lost = {each.machine: (each, "its master was lost") for each in processes.lost_masters(db)}
    living = processes.living(db, project.jfr_mp.lease_ttl)
    alone = {each.machine: (each, "no master is running there") for each in living}
    return [
        MissingLog(record.host, machine[: fleet.SHORT_ID], f"{why}: run `jfr-mp logs` on that machine")
        for machine, (record, why) in {**lost, **alone}.items()
        if machine not in known
    ]
