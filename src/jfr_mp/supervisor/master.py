"""The master: one loop that turns all that happens into events of the table, and does what the table says."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jfr_mp import logs
from jfr_mp.bus.lifeline import open_lifeline
from jfr_mp.bus.messages import (
    CommandRequest,
    ConditionReport,
    Drain,
    Goodbye,
    MasterStatus,
    Measure,
    Measured,
    Message,
    Register,
    Rejection,
    SetLogLevel,
    StatusReply,
    StatusRequest,
)
from jfr_mp.bus.server import BusServer, Letter
from jfr_mp.config import LogLevel
from jfr_mp.errors import ConfigError, ExitCode
from jfr_mp.membership.member import Member
from jfr_mp.membership.records import report_of
from jfr_mp.model import Condition
from jfr_mp.states import JobState
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import Child, ChildArguments
from jfr_mp.supervisor.commands import Commands
from jfr_mp.supervisor.continuation import Continuation
from jfr_mp.supervisor.crew import Crew
from jfr_mp.supervisor.lifecycle import Action, Died, Event, NotYet, Ready, Start, State, Stop, Tick, transition
from jfr_mp.supervisor.logfile import LogFile
from jfr_mp.supervisor.plan import Plan
from jfr_mp.supervisor.reload import Roll
from jfr_mp.supervisor.service_manager import ServiceState, settled, summary
from jfr_mp.supervisor.signals import SignalInbox
from jfr_mp.supervisor.upkeep import HungSteps, reap_orphans, rotate_logs, show_logs

logger = logging.getLogger(__name__)

#: Seconds between two looks at what no event announces: large logs, and the memory of the processes.
_CHORES_EVERY = 1.0
#: The same for new lines in the logs, if the user watches them.
_SHOW_EVERY = 0.1


class Master:
    """Keeps the role processes of a plan alive until it is told to stop; to be run in the main thread.

    Parameters
    ----------
    plan
        Its task.
    member
        Its membership of the deployment, by which it reports its status and has dead role processes evicted.
    """

    def __init__(self, plan: Plan, member: Member) -> None:
        self._plan = plan
        self._member = member
        begin = plan.begin
        self._crew = Crew(begin.roles, begin.held, lambda spec: Child(spec, LogFile(plan.log_dir / f"{spec.name}.log")))
        self._children = self._crew.children
        self._own_log = None if plan.terminal else LogFile(plan.log_dir / "master.log")
        self._commands = Commands(self)
        self.log_level = begin.log_level
        self._stopping = False
        self._service = ServiceState.STARTING
        #: Whether the program is to begin again when it has stopped.
        self.restarting = False
        self._roll = Roll()
        self._chores_due = 0.0
        self._hung = HungSteps()

    @property
    def roles(self) -> Mapping[Role, int]:
        """How many processes of each role it keeps."""
        return self._crew.roles

    @property
    def log_dir(self) -> Path:
        """The directory of the logs of its role processes, and of its own."""
        return self._plan.log_dir

    @property
    def continuation(self) -> Continuation:
        """What the program that follows a restart begins with."""
        return Continuation(roles=dict(self.roles), held=self._crew.held, log_level=self.log_level)

    def run(self, on_up: Callable[[], None] = lambda: None) -> ExitCode:
        """Start the role processes, and return when the master was told to stop and all of them have exited.

        Parameters
        ----------
        on_up
            Called when the master can be reached over the bus.

        Returns
        -------
        ExitCode
            OK, or START_FAILED if a role process was given up.
        """
        with ExitStack() as stack:
            inbox = stack.enter_context(SignalInbox())
            self._bus = stack.enter_context(BusServer(self._plan.run_dir))
            self._lifeline = stack.enter_context(open_lifeline())
            on_up()
            logger.info("starting %s", ", ".join(child.spec.name for child in self._children))
            while not self._finished():
                self._start_wanted()
                self._bus.wait(self._time_to_next_task(), inbox.fileno(), *self._announcers())
                for number in inbox.take():
                    self._handle_signal(number)
                for letter in self._bus.receive():
                    self._answer(letter)
                self._pass_on_news()
                self._obey()
                self._reap()
                self._apply_to_all(Tick())
                self._roll_on()
                self._tell_manager()
                self._do_chores()
        logger.info("stopped")
        return ExitCode.START_FAILED if self._given_up() else ExitCode.OK

    def status(self) -> MasterStatus:
        """Return the status of this master and its role processes."""
        return self._crew.status(self._state, self._notices)

    @property
    def _notices(self) -> list[str]:
        file = self._plan.project_file
        return [file.notice] if file and file.notice else []

    @property
    def _state(self) -> str:
        if self._stopping:
            return "STOPPING"
        if self._roll.active:
            return "RELOADING"
        held = self._crew.held
        return "PAUSED" if held == set(self.roles) else "DRAINING" if held else "RUNNING"

    # Events

    def _handle_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:  # every turn reaps anyway, because one signal may stand for several children
            reap_orphans([self._plan.processes.server_pid, *(child.pid for child in self._children)])
            return
        if number == signal.SIGHUP and not self._plan.stops_on_hangup:
            reply = self._commands.carry_out("", "reload", {})
            logger.log(logging.INFO if reply.done else logging.ERROR, "SIGHUP: %s", reply.text)
            return
        # With a second Ctrl-C the user does not want to wait for the current steps.
        hurry = number == signal.SIGINT and self._stopping
        self.stop(drain=not hurry, why=number.name)

    def _answer(self, letter: Letter) -> None:
        match letter.message:
            case StatusRequest():
                self._bus.send(letter.sender, StatusReply(master=self.status()))
            case CommandRequest(id=id_, name=name, arguments=arguments):
                self._bus.send(letter.sender, self._commands.carry_out(id_, name, arguments))
            case Register() as registration:
                self._register(letter.sender, registration)
            case message:
                self._take_report(letter.sender, message)

    def _register(self, sender: bytes, registration: Register) -> None:
        for child in self._children:
            if child.pid == registration.pid:
                child.owner = registration.owner
                # It may have changed since the process was started.
                self._bus.send(sender, SetLogLevel(level=self.log_level))
                if self._plan.exporter is not None:
                    self._bus.send(sender, Measure())
                return
        logger.warning("%s (pid %d) is no child of this master", registration.name, registration.pid)
        self._bus.send(sender, Drain())

    def _take_report(self, sender: bytes, message: Message) -> None:
        child = next((child for child in self._children if child.owner and child.owner.encode() == sender), None)
        match message:
            case ConditionReport(condition=condition) if child:
                child.condition = child.condition.updated(condition)
                self._apply(child, Ready() if condition.state == State.RUNNING else NotYet())
            case Measured() as measured if child and self._plan.exporter:
                self._plan.exporter.note(measured)
            case Goodbye(reason=reason) if child:
                logger.debug("%s is about to exit: %s", child.spec.name, reason)
            case _:
                self._bus.send(sender, Rejection(why=f"unexpected message {message.kind}"))

    def _reap(self) -> None:
        for child in self._children:
            pid = child.pid
            if (death := child.reap()) is None:
                continue
            # First of all: when it is evicted, another process can take over its jobs.
            if child.owner:
                self._member.evict(child.owner)
            expected = child.life.state is State.STOPPING
            logger.log(
                logging.INFO if expected else logging.WARNING, "%s (pid %s) exited: %s", child.spec.name, pid, death.why
            )
            child.owner, child.condition = None, Condition()
            self._apply(child, death)

    def _announcers(self) -> list[int]:
        """Return the file descriptors that become readable when something has to be done."""
        gate = [self._plan.gate.commands.fileno()] if self._plan.gate else []
        return [*self._plan.processes.announces, self._plan.news.fileno(), *gate]

    def _obey(self) -> None:
        """Carry out the commands that came through the database, or from other machines."""
        for order in self._member.new_orders():
            self._member.answer(order, self._commands.carry_out(order.id, order.name, order.arguments))
        if (gate := self._plan.gate) is not None:
            for command in gate.commands.take():
                gate.answer(command, self._commands.carry_out(command.id, command.name, command.arguments))

    def _pass_on_news(self) -> None:
        """Pass on news from elsewhere to the role processes, and theirs to other machines."""
        self._bus.publish(frozenset[JobState]().union(*self._plan.news.take()))
        self._plan.tell_others(self._bus.take_published())

    # Commands, as `jfr_mp.supervisor.commands` gives them

    def stop(self, *, drain: bool, why: str) -> None:
        """Stop the role processes, after the current steps if `drain`, and exit."""
        if not self._stopping or not drain:
            logger.info("%s because of %s", "stopping" if drain else "killing the role processes", why)
        self._stopping = True
        self._apply_to_all(Stop(drain=drain))

    def restart(self, level: LogLevel | None) -> None:
        """Stop after the current steps, and have the program begin again."""
        self.restarting = True
        self.log_level = level or self.log_level
        self.stop(drain=True, why="a restart")

    def reload(self) -> None:
        """Replace the role processes one by one by processes with the project file as it is now."""
        if (file := self._plan.project_file) is None or self._stopping:
            raise ConfigError("this master has no project file to reload, or is stopping")
        before, project = file.project, file.load()
        self._plan = replace(self._plan, policy=replace(self._plan.policy, drain=project.jfr_mp.stop_timeout))
        if project.log_level != before.log_level:
            self.set_log_level(project.log_level)
        logger.info("reloading: the role processes are replaced one by one")
        self._roll.begin(self._children)
        self._chores_due = 0.0

    def hold(self, roles: Collection[Role]) -> None:
        """Stop the processes of some roles after the current steps, and start none until `release`."""
        self._stop_all(self._crew.hold(roles))
        self._note_roles()

    def release(self, roles: Collection[Role]) -> None:
        """Start the processes of these roles again."""
        self._crew.release(roles)
        self._note_roles()

    def scale(self, role: Role, number: int) -> None:
        """Keep this number of processes of a role from now on."""
        self._stop_all(self._crew.scale(role, number))
        self._note_roles()

    def set_log_level(self, level: LogLevel) -> None:
        """Log from this level on, with all role processes."""
        self.log_level, message = level, SetLogLevel(level=level)
        logs.set_level(level.to_logging())
        for child in self._children:
            if child.owner:
                self._bus.send(child.owner.encode(), message)

    # Actions

    def _note_roles(self) -> None:
        self._plan.run_dir.note_roles(self.roles, self._crew.held)

    def _start_wanted(self) -> None:
        """Start the processes that are wanted and stopped, such as those of a role that was paused."""
        if not self._stopping:
            self._crew.dismiss()
            for child in self._children:
                if child.life.state is State.STOPPED and self._crew.wants(child):
                    self._apply(child, Start())

    def _roll_on(self) -> None:
        """Replace the next process, if a reload has come to it; what has stopped is started because it is wanted."""
        if not self._stopping and (child := self._roll.turn(self._crew.wants)) is not None:
            self._apply(child, Start() if child.life.state is State.FATAL else Stop())

    def _stop_all(self, children: Collection[Child]) -> None:
        for child in children:
            self._apply(child, Stop())

    def _apply_to_all(self, event: Event) -> None:
        for child in self._children:
            self._apply(child, event)

    def _apply(self, child: Child, event: Event) -> None:
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
                self._bus.send(child.owner.encode(), Drain())
            case Action.DRAIN | Action.TERM:
                child.signal(signal.SIGTERM)
            case Action.KILL:
                child.signal(signal.SIGKILL)
            case Action.ALARM:
                logger.error(
                    "%s is given up: %s\nthe other role processes go on; when the cause is removed: jfr-mp restart",
                    child.spec.name,
                    child.life.last_error,
                )

    def _spawn(self, child: Child) -> None:
        arguments = ChildArguments(child.spec, self._plan.run_dir.path, self.log_level, self._lifeline)
        try:
            child.spawn(self._plan.processes, arguments)
        except OSError as error:
            self._apply(child, Died(f"could not be started: {error}"))
        else:
            logger.info("%s started, pid %s", child.spec.name, child.pid)

    def _tell_manager(self) -> None:
        states = {child.spec.name: child.life.state for child in self._children}
        if self._stopping and not self.restarting:
            self._service = ServiceState.STOPPING
        elif self.restarting or self._roll.active:
            self._service = ServiceState.RELOADING
        elif settled({child.spec.name: child.life.state for child in self._children if self._crew.wants(child)}):
            self._service = ServiceState.READY
        self._plan.manager.update(self._service, summary(states, self._notices))

    def _do_chores(self) -> None:
        show_logs(self._plan.terminal, self._children)
        if (now := time.monotonic()) < self._chores_due:
            return
        self._chores_due = now + _CHORES_EVERY
        self._hung.kill(self._children, now)
        self._keep_reachable(now)
        if self._plan.project_file is not None:
            self._plan.project_file.look()
        status = self.status()
        self._member.report(report_of(status))
        if self._plan.exporter is not None:
            self._plan.exporter.status = status
        rotate_logs(self._children, self._own_log)

    def _keep_reachable(self, now: float) -> None:
        """Have deleted sockets made again; stop if that fails for a while, because no command reaches this master."""
        limit = self._plan.unreachable_for
        if self._bus.keep_open(now) > limit and not self._stopping:
            self.stop(drain=True, why=f"being unreachable for {limit:g} s")

    # Deadlines

    def _time_to_next_task(self) -> float:
        """Return how long the loop may sleep, in seconds."""
        now = time.monotonic()
        deadlines = [child.life.deadline for child in self._children if child.life.deadline is not None]
        nap = _SHOW_EVERY if self._plan.terminal else _CHORES_EVERY
        return min(
            [nap, self._plan.manager.interval, self._chores_due - now, *(deadline - now for deadline in deadlines)]
        )

    def _finished(self) -> bool:
        return self._stopping and all(child.life.state in (State.STOPPED, State.FATAL) for child in self._children)

    def _given_up(self) -> bool:
        return any(child.life.state is State.FATAL for child in self._children)
