"""Commands to the masters of any machine, from any machine and from Python.

A master on this machine is reached over its bus, and one on another machine over the bus between machines, if there
is one and it can be reached. Otherwise it takes its orders from the database, with its next heartbeat. Each master
answers that it does what it was told, or why not, or does not answer in time.
"""

from __future__ import annotations

import getpass
import logging
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.gate import command_through_gate
from jfr_mp.bus.keys import read_keys
from jfr_mp.bus.messages import Arguments, CommandRequest
from jfr_mp.bus.paths import RunDir
from jfr_mp.database import orders, paused_workers, processes
from jfr_mp.database.connection import PERSON_TIMEOUT, QueueDatabase
from jfr_mp.database.orders import MasterOrder
from jfr_mp.errors import BusError, DatabaseError, ExitCode, NotAllowed, NotFound, NotRunning
from jfr_mp.identity import host_name
from jfr_mp.supervisor.control import living_here

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.database.processes import ProcessRecord

logger = logging.getLogger(__name__)

#: Seconds for an answer over the bus between machines, before the command goes through the database.
_BUS_TIMEOUT = 2.0
#: Seconds between two looks for answers.
_LOOK_EVERY = 0.2
#: Masters that are asked over the bus at the same time.
_AT_ONCE = 16
#: Characters of the id of a machine that are shown, and enough to choose it.
SHORT_ID = 8

Way = Literal["bus", "database"]
AnswerKind = Literal["done", "refused", "unanswered"]


@dataclass(frozen=True)
class MasterAddress:
    """A master that a command is for.

    Parameters
    ----------
    host, machine, pid, owner
        Which master it is: see `jfr_mp.identity.ProcessIdentity`.
    run_dir
        Its directory, if it is a master of this machine.
    bus, bus_key
        The address and the public key of its bus, if other machines can reach it.
    """

    host: str
    machine: str
    pid: int
    owner: str
    run_dir: RunDir | None = None
    bus: str = ""
    bus_key: str = ""


@dataclass(frozen=True)
class MasterAnswer:
    """What became of a command to one master.

    Parameters
    ----------
    host, machine, pid
        The master.
    command
        The name of the command.
    way
        How it was sent: over the bus or through the database.
    outcome
        Whether the master does it, refuses it, or has not answered in time: it may do it later, or have done it.
    text
        What it answered.
    """

    host: str
    machine: str
    pid: int
    command: str
    way: Way
    outcome: AnswerKind
    text: str


def command(
    project: Project,
    name: str,
    *,
    hosts: Collection[str] = (),
    everywhere: bool = False,
    timeout: float = 30.0,
    **arguments: Any,
) -> list[MasterAnswer]:
    """Send a command to masters of a project.

    Parameters
    ----------
    project
        The project of the masters.
    name, arguments
        A row of `jfr_mp.supervisor.commands.COMMANDS`, and the fields of its arguments, such as ``role="transfer",
        number=4`` for ``scale``.
    hosts
        The machines, by host name or by the beginning of the id that ``jfr-mp status`` shows; none for this machine.
    everywhere
        Whether it is for all machines.
    timeout
        Seconds to wait for the answers, and for the exit of masters that are told to stop.

    Raises
    ------
    NotRunning
        If no master is running there.
    NotAllowed
        If several machines have one of the names.
    DatabaseError
        If masters on other machines are wanted, and the database cannot be used.
    """
    deadline = time.monotonic() + timeout
    with database(project, needed=bool(hosts) or everywhere) as db:
        chosen = targets(project, db, hosts, everywhere=everywhere)
        results = ask(project, db, chosen, name, timeout, arguments)
        if name == "stop":
            return [_stopped(db, *pair, deadline) for pair in zip(chosen, results, strict=True)]
        return results


def ask(
    project: Project,
    db: QueueDatabase | None,
    masters: Sequence[MasterAddress],
    name: str,
    timeout: float,
    arguments: Arguments,
) -> list[MasterAnswer]:
    """Send a command to some masters, over the bus of each or through the database, and return their answers.

    Raises
    ------
    BusError
        A bus does not reach its master, and there is no database.
    """
    deadline = time.monotonic() + timeout
    sender = _sender()
    # If the answer over the bus is lost, the master knows the order from its id and does nothing twice.
    orders_of = {
        each: MasterOrder(id=secrets.token_hex(12), master=each.owner, name=name, arguments=arguments, sender=sender)
        for each in masters
    }
    if not orders_of:
        return []
    # At the same time: a master that its bus does not reach any more must not hold up the others.
    with ThreadPoolExecutor(min(len(orders_of), _AT_ONCE)) as pool:
        replies = pool.map(lambda each: _over_bus(project, each, orders_of[each]), orders_of)
        results = {each: reply for each, reply in zip(orders_of, replies, strict=True) if reply is not None}
    left = {each: order for each, order in orders_of.items() if each not in results}
    if left and db is None:
        raise BusError(f"the master with pid {next(iter(left)).pid} does not answer: see its log, or use `jfr-mp kill`")
    if left and db is not None:
        results |= _through_database(db, left, deadline)
    return [results[each] for each in masters]


def pause_workers(project: Project, names: Collection[str]) -> list[str]:
    """Let no master begin jobs of some workers until they are resumed; return the workers that this has paused.

    Raises
    ------
    NotFound
        The project has no such worker; then none is paused.
    DatabaseError
        The database cannot be used.
    """
    if unknown := [name for name in names if name not in project.workers]:
        known = ", ".join(project.workers)
        raise NotFound(f"project {project.name} has no worker {unknown[0]}; its workers are {known}")
    with closing(QueueDatabase.connect(project, timeout=PERSON_TIMEOUT)) as db:
        return [name for name in names if paused_workers.pause(db, name, _sender())]


def resume_workers(project: Project, names: Collection[str]) -> list[str]:
    """Let masters begin jobs of some workers again; return the workers that were paused.

    Raises
    ------
    NotFound
        The project has no such worker, and none of that name is paused; then none is resumed.
    DatabaseError
        The database cannot be used.
    """
    with closing(QueueDatabase.connect(project, timeout=PERSON_TIMEOUT)) as db:
        known = {*project.workers, *(each.worker for each in paused_workers.listed(db))}
        if unknown := [name for name in names if name not in known]:
            raise NotFound(f"project {project.name} has no worker {unknown[0]}; its workers are {', '.join(known)}")
        return [name for name in names if paused_workers.resume(db, name)]


def _sender() -> str:
    return f"{getpass.getuser()}@{host_name()}"


def exit_code(results: Sequence[MasterAnswer]) -> ExitCode:
    """Return the exit code for the results of a command."""
    outcomes = {result.outcome for result in results}
    if "unanswered" in outcomes:
        return ExitCode.TIMEOUT
    return ExitCode.ERROR if "refused" in outcomes else ExitCode.OK


@contextmanager
def database(project: Project, *, needed: bool) -> Iterator[QueueDatabase | None]:
    """Connect to the database; if that fails and it is not needed, give None."""
    try:
        opened = QueueDatabase.connect(project, timeout=PERSON_TIMEOUT)
    except DatabaseError as error:
        if needed:
            raise
        logger.debug("only the bus can be used: %s", error)
        yield None
        return
    with closing(opened) as db:
        yield db


def targets(
    project: Project, db: QueueDatabase | None, hosts: Collection[str], *, everywhere: bool
) -> list[MasterAddress]:
    """Return the masters on some machines; see `command`, also for what is raised."""
    here = [
        MasterAddress(master.host, master.machine, master.pid, master.owner, run_dir)
        for run_dir, master in living_here(project)
    ]
    if not hosts and not everywhere:
        found = here
    else:
        assert db is not None
        known = {target.owner for target in here}
        living = processes.living(db, project.jfr_mp.lease_ttl)
        masters = [record for record in living if record.kind == "master" and record.id not in known]
        found = here + [_target(record) for record in masters]
        if not everywhere:
            found = [target for host in hosts for target in _on(host, found, project)]
    if not found:
        where = "any machine" if everywhere else f"this machine ({host_name()}); see `jfr-mp status`"
        raise NotRunning(f"no master of project {project.name} is running on {where}")
    return list(dict.fromkeys(found))


def _target(record: ProcessRecord) -> MasterAddress:
    return MasterAddress(record.host, record.machine, record.pid, record.id, bus=record.bus, bus_key=record.bus_key)


def _on(host: str, masters: Sequence[MasterAddress], project: Project) -> list[MasterAddress]:
    by_id = len(host) >= SHORT_ID
    chosen = [each for each in masters if each.host == host or (by_id and each.machine.startswith(host))]
    if not chosen:
        running = ", ".join(sorted({each.host for each in masters})) or "no machine"
        raise NotRunning(f"no master of project {project.name} is running on {host}; masters run on {running}")
    if len(ids := sorted({target.machine[:SHORT_ID] for target in chosen})) > 1:
        raise NotAllowed(f"several machines have the name {host}: choose by the ids {', '.join(ids)}")
    return chosen


def _result(target: MasterAddress, name: str, way: Way, outcome: AnswerKind, text: str) -> MasterAnswer:
    return MasterAnswer(target.host, target.machine[:SHORT_ID], target.pid, name, way, outcome, text)


def _over_bus(project: Project, target: MasterAddress, order: MasterOrder) -> MasterAnswer | None:
    """Send a command over the bus of a master; return None if the bus does not reach it."""
    name, arguments = order.name, order.arguments
    try:
        if target.run_dir is not None:
            with MasterClient(target.run_dir) as client:
                reply = client.command(name, id_=order.id, **arguments)
        elif target.bus and (keys := read_keys(project)) is not None:
            request = CommandRequest(id=order.id, master=target.owner, name=name, arguments=arguments)
            reply = command_through_gate(target.bus, target.bus_key, keys, request, _BUS_TIMEOUT)
        else:
            return None
    except BusError as error:
        logger.debug("%s", error)
        return None
    return _result(target, name, "bus", "done" if reply.done else "refused", reply.text)


def _through_database(
    db: QueueDatabase, given: dict[MasterAddress, MasterOrder], deadline: float
) -> dict[MasterAddress, MasterAnswer]:
    waiting = dict(given)
    results: dict[MasterAddress, MasterAnswer] = {}
    try:
        for order in given.values():
            orders.give(db, order)
        while waiting and time.monotonic() < deadline:
            for target, order in list(waiting.items()):
                answer = orders.read(db, order)
                if answer is not None and answer.done is not None:
                    outcome: AnswerKind = "done" if answer.done else "refused"
                    results[target] = _result(target, order.name, "database", outcome, answer.text)
                    del waiting[target]
            if waiting:
                time.sleep(_LOOK_EVERY)
        for target, order in waiting.items():
            why = _silence(orders.read(db, order), is_there=processes.is_registered(db, target.owner))
            results[target] = _result(target, order.name, "database", "unanswered", why)
    finally:
        for order in given.values():
            orders.withdraw(db, order)
    return results


def _silence(order: MasterOrder | None, *, is_there: bool) -> str:
    if not is_there:
        return "the master is not there any more: it has stopped, or restarted"
    if order is not None and order.taken_on is not None:
        return "the master has taken the command and not answered yet"
    return "the master has not taken the command, which is withdrawn"


def _stopped(db: QueueDatabase | None, target: MasterAddress, result: MasterAnswer, deadline: float) -> MasterAnswer:
    """Wait until a master that was told to stop has exited."""
    if result.outcome != "done":
        return result
    while time.monotonic() < deadline:
        if not _is_there(db, target):
            return replace(result, text="stopped")
        time.sleep(_LOOK_EVERY)
    return replace(result, outcome="unanswered", text="it is still stopping: its role processes finish their steps")


def _is_there(db: QueueDatabase | None, target: MasterAddress) -> bool:
    if target.run_dir is not None:
        return target.run_dir.path.exists()
    return db is not None and processes.is_registered(db, target.owner)
