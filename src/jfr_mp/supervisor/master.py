"""The master: one loop that turns whatever happens into events of the table, and does what the table says."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from jfr_mp import logs
from jfr_mp.bus.messages import (
    Ack,
    Goodbye,
    Heartbeat,
    LogLevelRequest,
    MasterStatus,
    Message,
    Refusal,
    Register,
    SetLogLevel,
    StatusReply,
    StatusRequest,
    StopOrder,
    StopRequest,
)
from jfr_mp.bus.paths import RunDir
from jfr_mp.bus.server import BusServer, Letter
from jfr_mp.config import LogLevel
from jfr_mp.errors import ExitCode
from jfr_mp.model import Condition
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import Child, Command, SpawnOrder, specs
from jfr_mp.supervisor.lifecycle import (
    Action,
    Died,
    Event,
    NotYet,
    Policy,
    Ready,
    Start,
    State,
    Stop,
    Tick,
    transition,
)
from jfr_mp.supervisor.logfile import LogFile
from jfr_mp.supervisor.registrar import Registrar
from jfr_mp.supervisor.signals import SignalInbox

logger = logging.getLogger(__name__)

#: Seconds between two looks after what nothing announces: large logs, and the memory of the processes.
_CHORES_EVERY = 1.0
#: The same for new lines in the logs, where the user watches them.
_SHOW_EVERY = 0.1


@dataclass(frozen=True)
class Plan:
    """What a master is to do.

    Parameters
    ----------
    roles
        How many processes of each role it keeps.
    command
        Makes the command line of a role process.
    run_dir
        Its directory, which exists.
    log_dir
        Where the logs of the role processes, and its own as a daemon, are.
    log_level
        From which level on all of them log.
    policy
        How long things may take.
    terminal
        Where a master in the foreground shows the logs of its role processes; None for a daemon.
    """

    roles: Mapping[Role, int]
    command: Command
    run_dir: RunDir
    log_dir: Path
    log_level: LogLevel = LogLevel.INFO
    policy: Policy = field(default_factory=Policy)
    terminal: TextIO | None = None


class Master:
    """Keeps the role processes of a plan alive until it is told to stop; to be run in the main thread.

    Parameters
    ----------
    plan
        What it is to do.
    registrar
        Told about its life, and about each role process that ended.
    """

    def __init__(self, plan: Plan, registrar: Registrar) -> None:
        self._plan = plan
        self._registrar = registrar
        self._children = [Child(spec, LogFile(plan.log_dir / f"{spec.name}.log")) for spec in specs(plan.roles)]
        self._own_log = None if plan.terminal else LogFile(plan.log_dir / "master.log")
        self._log_level = plan.log_level
        self._stopping = False
        self._chores_due = 0.0

    def run(self, on_up: Callable[[], None] = lambda: None) -> ExitCode:
        """Start the role processes and stay until all of them have ended on demand.

        Parameters
        ----------
        on_up
            Called when the master can be spoken to.

        Returns
        -------
        ExitCode
            OK, or START_FAILED where a role process had to be given up.
        """
        with ExitStack() as stack:
            inbox = stack.enter_context(SignalInbox(ignore_hangup=self._plan.terminal is None))
            self._bus = stack.enter_context(BusServer(self._plan.run_dir))
            self._lifeline = stack.enter_context(_lifeline())
            self._bus.watch(inbox.fileno())
            on_up()
            logger.info("starting %s", ", ".join(child.spec.name for child in self._children))
            self._tell_all(Start())
            while not self._finished():
                self._bus.wait(self._patience())
                for number in inbox.take():
                    self._heed(number)
                for letter in self._bus.receive():
                    self._answer(letter)
                self._bury_the_dead()
                self._tell_all(Tick())
                self._do_chores()
        logger.info("stopped")
        return ExitCode.START_FAILED if self._given_up() else ExitCode.OK

    def status(self) -> MasterStatus:
        """Return how this master and its role processes are now."""
        now = time.monotonic()
        return MasterStatus(
            host=socket.gethostname(),
            pid=os.getpid(),
            state="STOPPING" if self._stopping else "RUNNING",
            roles=[child.status(now) for child in self._children],
            outages=[outage for child in self._children for outage in child.condition.outages or ()],
            transfers=[transfer for child in self._children for transfer in child.condition.transfers or ()],
        )

    # What comes in

    def _heed(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:  # every turn looks for the dead anyway: one signal may stand for several of them
            return
        # A second Ctrl-C is that of somebody who does not want to wait.
        impatient = number == signal.SIGINT and self._stopping
        self._stop(drain=not impatient, why=number.name)

    def _answer(self, letter: Letter) -> None:
        match letter.message:
            case StatusRequest():
                self._bus.send(letter.sender, StatusReply(master=self.status()))
            case StopRequest(drain=drain):
                self._bus.send(letter.sender, Ack())
                self._stop(drain=drain, why="a request")
            case LogLevelRequest(level=level):
                self._set_log_level(SetLogLevel(level=level))
                self._bus.send(letter.sender, Ack())
            case Register() as introduction:
                self._welcome(letter.sender, introduction)
            case message:
                self._listen(letter.sender, message)

    def _welcome(self, sender: bytes, introduction: Register) -> None:
        for child in self._children:
            if child.pid == introduction.pid:
                child.owner = introduction.owner
                # It may have changed since the process was started.
                self._bus.send(sender, SetLogLevel(level=self._log_level))
                return
        logger.warning("%s (pid %d) is no child of this master", introduction.name, introduction.pid)
        self._bus.send(sender, StopOrder())

    def _listen(self, sender: bytes, message: Message) -> None:
        child = next((child for child in self._children if child.owner and child.owner.encode() == sender), None)
        match message:
            case Heartbeat(condition=condition) if child:
                child.condition = child.condition.updated(condition)
                self._tell(child, Ready() if condition.state == State.RUNNING else NotYet())
            case Goodbye(reason=reason) if child:
                logger.debug("%s says goodbye: %s", child.spec.name, reason)
            case _:
                self._bus.send(sender, Refusal(why=f"a master does not expect {message.kind} from you"))

    def _bury_the_dead(self) -> None:
        for child in self._children:
            pid = child.pid
            if (death := child.reap()) is None:
                continue
            # First of all: others may take its jobs over from here on.
            if child.owner:
                self._registrar.gone(child.owner)
            expected = child.life.state is State.STOPPING
            logger.log(
                logging.INFO if expected else logging.WARNING, "%s (pid %s) ended: %s", child.spec.name, pid, death.why
            )
            child.owner, child.condition = None, Condition()
            self._tell(child, death)

    # What is done

    def _stop(self, *, drain: bool, why: str) -> None:
        if not self._stopping or not drain:
            logger.info("%s because of %s", "stopping" if drain else "killing the role processes", why)
        self._stopping = True
        self._tell_all(Stop(drain=drain))

    def _set_log_level(self, order: SetLogLevel) -> None:
        self._log_level = order.level
        logs.set_level(order.level.to_logging())
        for child in self._children:
            if child.owner:
                self._bus.send(child.owner.encode(), order)

    def _tell_all(self, event: Event) -> None:
        for child in self._children:
            self._tell(child, event)

    def _tell(self, child: Child, event: Event) -> None:
        before = child.life.state
        child.life, actions = transition(child.life, event, time.monotonic(), self._plan.policy)
        if child.life.state is not before:
            logger.debug("%s: %s -> %s", child.spec.name, before, child.life.state)
            self._chores_due = 0.0
        for action in actions:
            self._act(child, action)

    def _act(self, child: Child, action: Action) -> None:
        match action:
            case Action.SPAWN:
                self._spawn(child)
            case Action.DRAIN if child.owner:
                self._bus.send(child.owner.encode(), StopOrder())
            case Action.DRAIN | Action.TERM:
                child.signal(signal.SIGTERM)
            case Action.KILL:
                child.signal(signal.SIGKILL)
            case Action.ALARM:
                logger.error(
                    "%s is given up: %s\nthe other role processes go on; after repair: jfr-mp restart",
                    child.spec.name,
                    child.life.last_error,
                )

    def _spawn(self, child: Child) -> None:
        order = SpawnOrder(child.spec, self._plan.run_dir.path, self._log_level, self._lifeline)
        try:
            child.spawn(self._plan.command(order), self._lifeline)
        except OSError as error:
            self._tell(child, Died(f"could not be started: {error}"))
        else:
            logger.info("%s started, pid %s", child.spec.name, child.pid)

    def _do_chores(self) -> None:
        self._show_logs()
        if (now := time.monotonic()) < self._chores_due:
            return
        self._chores_due = now + _CHORES_EVERY
        self._registrar.tell(self.status())
        for log in [child.log for child in self._children] + ([self._own_log] if self._own_log else []):
            log.rotate()

    def _show_logs(self) -> None:
        if (terminal := self._plan.terminal) is None:
            return
        for child in self._children:
            for line in child.log.new_lines():
                terminal.write(f"{child.spec.name} | {line}\n")
        terminal.flush()

    # How long

    def _patience(self) -> float:
        """Return how long the loop may sleep, in seconds."""
        now = time.monotonic()
        deadlines = [child.life.deadline for child in self._children if child.life.deadline is not None]
        nap = _SHOW_EVERY if self._plan.terminal else _CHORES_EVERY
        return min([nap, self._chores_due - now, *(deadline - now for deadline in deadlines)])

    def _finished(self) -> bool:
        return self._stopping and all(child.life.state in (State.STOPPED, State.FATAL) for child in self._children)

    def _given_up(self) -> bool:
        return any(child.life.state is State.FATAL for child in self._children)


@contextmanager
def _lifeline() -> Iterator[int]:
    """Lend the reading end of a pipe that ends with this process; nothing else ever gets the writing end."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)
