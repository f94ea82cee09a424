"""The systemd units of a project: text only, so that what is installed can be shown and checked first."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.bus.paths import runtime_path
from jfr_mp.errors import ExitCode
from jfr_mp.step_table import Role
from jfr_mp.supervisor.lifecycle import Policy

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: The first version of systemd that knows ``Type=notify-reload``.
_NOTIFY_RELOAD = 253
#: Seconds without a turn of its main loop after which a master counts as hung.
_WATCHDOG = 60
#: Seconds that a master takes for the rest of its stop, beyond the deadlines of its role processes.
_STOP_MARGIN = 30
#: Exit codes after which systemd does not restart a master: the user has to change something first.
_NO_RESTART = (ExitCode.USAGE, ExitCode.CONFIG, ExitCode.START_FAILED)
#: Schedulers whose jobs are not children of the runner, so that its sandbox does not concern them.
_SCHEDULERS_ELSEWHERE = ("slurm", "pbs", "sge")
#: Variables of the user that a master needs as they are now.
_ENVIRONMENT = ("PATH", "JFREMOTE_PROJECTS_FOLDER", "JFREMOTE_CONFIG_FILE")

#: For system units, whatever the jobs are: nothing that an ordinary user's program could miss.
_FOR_EVERYTHING = (
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectHostname", "yes"),
    ("KeyringMode", "private"),
)
#: For system units of which no job is a child. Jobs may need devices, containers or other users' processes.
_OF_THE_SYSTEM = (
    ("ProtectSystem", "strict"),
    ("ProtectHome", "read-only"),
    ("PrivateDevices", "yes"),
    ("DevicePolicy", "closed"),
    ("ProtectProc", "invisible"),
    ("RemoveIPC", "yes"),
)
#: For all units of which no job is a child. A user's systemd can set these without privileges.
_WITHOUT_JOBS = (
    ("NoNewPrivileges", "yes"),
    ("LockPersonality", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallErrorNumber", "EPERM"),
)

Settings = Iterator[tuple[str, object]]


class Scope(StrEnum):
    """Which systemd runs the units."""

    USER = "user"
    SYSTEM = "system"

    @property
    def directory(self) -> Path:
        """The directory of the units that users or administrators install."""
        if self is Scope.SYSTEM:
            return Path("/etc/systemd/system")
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"

    @property
    def systemctl(self) -> list[str]:
        """The command that manages these units."""
        return ["systemctl", "--user"] if self is Scope.USER else ["systemctl"]


def systemd_version() -> int:
    """Return the version of systemd on this machine; a new one if there is none, to write units for other machines."""
    if shutil.which("systemctl") is None:
        return _NOTIFY_RELOAD
    answer = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.match(r"systemd (\d+)", answer)
    return int(found[1]) if found else _NOTIFY_RELOAD


@dataclass(frozen=True)
class Units:
    """The units of a project.

    Parameters
    ----------
    project
        The project.
    scope
        Which systemd runs them.
    user
        The user of system units.
    version
        The version of systemd.
    environment
        The environment from which the masters get their PATH and the place of the project file.
    """

    project: Project
    scope: Scope
    user: str = ""
    version: int = _NOTIFY_RELOAD
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def name(self) -> str:
        """The name of the unit for all roles, without its suffix."""
        return "jfr-mp-" + "".join(map(_escaped, self.project.name))

    def names(self, roles: tuple[Role, ...] = ()) -> list[str]:
        """Return the services to start for some roles; without roles the one for all."""
        return [f"{self.name}@{role}.service" for role in roles] or [f"{self.name}.service"]

    def files(self) -> dict[str, str]:
        """Return the text of the unit for all roles and of the template for one role, by the names of their files."""
        return {f"{self.name}.service": self._text(template=False), f"{self.name}@.service": self._text(template=True)}

    @property
    def jobs_are_children(self) -> bool:
        """Whether jobs run on this machine as children of the role processes."""
        here = [worker for worker in self.project.workers.values() if worker.is_local]
        return any(worker.scheduler_type not in _SCHEDULERS_ELSEWHERE for worker in here)

    def make_directories(self) -> None:
        """Make the directories that a sandbox opens for the processes, because systemd ignores missing ones.

        Raises
        ------
        OSError
            One of them cannot be made by the user of the units.
        KeyError
            There is no such user on this machine.
        """
        written = [] if self.scope is Scope.USER or self.jobs_are_children else self._written()
        missing = [str(path) for path in written if not path.exists()]
        if not missing:
            return
        # As the user, who may own the directories above and replace them by links at any moment.
        user = pwd.getpwnam(self.user) if os.geteuid() == 0 else None
        done = subprocess.run(
            ["mkdir", "-p", "-m", "700", *missing],
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and os.getgrouplist(user.pw_name, user.pw_gid),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise OSError(done.stderr.strip())

    def _text(self, *, template: bool) -> str:
        whose = f"{'role %i of ' if template else ''}project {_literal(self.project.name)}"
        other = f"{self.name}.service" if template else ""
        sections = {
            "Unit": self._unit(f"jfr-mp, {whose}", other),
            "Service": self._service(" --%i" if template else ""),
            "Install": iter([("WantedBy", "default.target" if self.scope is Scope.USER else "multi-user.target")]),
        }
        head = "# Written by `jfr-mp systemd install`, which overwrites it: make changes with `systemctl edit`."
        parts = [f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in rows) for name, rows in sections.items()]
        return "\n".join([head, *parts])

    def _unit(self, description: str, conflicts: str) -> Settings:
        yield "Description", description
        if self.scope is Scope.SYSTEM:
            yield "Wants", "network-online.target"
            yield "After", "network-online.target"
        if conflicts:
            yield "Conflicts", conflicts
        # A database may be down for hours; each attempt is cheap.
        yield "StartLimitIntervalSec", 0

    def _service(self, role: str) -> Settings:
        reloads_itself = self.version >= _NOTIFY_RELOAD
        yield "Type", "notify-reload" if reloads_itself else "notify"
        yield "NotifyAccess", "main"
        if self.scope is Scope.SYSTEM:
            yield "User", self.user
        for name in _ENVIRONMENT:
            if value := self.environment.get(name):
                yield "Environment", _quoted(f"{name}={value}")
        command = f"{_command()} start --project {_quoted(self.project.name)} --foreground{role}"
        yield "ExecStart", command
        if not reloads_itself:
            yield "ExecReload", f"{shutil.which('kill') or '/bin/kill'} -HUP $MAINPID"
        yield from self._life()
        yield from self._sandbox()

    def _life(self) -> Settings:
        policy = Policy(drain=self.project.jfr_mp.stop_timeout)
        # The master has deadlines of its own for each role process; a database that is down may delay the start.
        yield "TimeoutStartSec", "infinity"
        yield "TimeoutStopSec", round(policy.drain + policy.term + _STOP_MARGIN)
        yield "WatchdogSec", _WATCHDOG
        yield "Restart", "on-failure"
        yield "RestartSec", 5
        yield "RestartPreventExitStatus", " ".join(str(int(code)) for code in _NO_RESTART)
        # SIGTERM goes to the master alone, which stops its role processes in order. Jobs and a database on this machine
        # go on.
        outlived = self.jobs_are_children or self.project.jfr_mp.embedded_db is not None
        yield "KillMode", "process" if outlived else "mixed"
        if self.jobs_are_children:
            # The job that runs out of memory fails, not the runner.
            yield "OOMPolicy", "continue"
            yield "TasksMax", "infinity"

    def _sandbox(self) -> Settings:
        yield "UMask", "0077"
        if self.scope is Scope.SYSTEM:
            yield from _FOR_EVERYTHING
            if not self.jobs_are_children:
                yield from _OF_THE_SYSTEM
                yield from self._file_systems()
        if not self.jobs_are_children:
            yield from _WITHOUT_JOBS

    def _file_systems(self) -> Settings:
        paths = self._written()
        # The command line and the jobs on this machine have to see the same files.
        in_tmp = any(path.is_relative_to("/tmp") for path in paths)
        yield "PrivateTmp", "no" if in_tmp else "yes"
        for path in paths:
            yield "ReadWritePaths", _quoted(f"-{path}")

    def _written(self) -> list[Path]:
        """Return the directories that the processes write to; one within another is left out."""
        project, embedded = self.project, self.project.jfr_mp.embedded_db
        paths = [Path(each) for each in (project.base_dir, project.tmp_dir, project.log_dir, project.daemon_dir)]
        paths += [worker.work_dir for worker in project.workers.values() if worker.is_local]
        paths += [embedded.dir] if embedded else []
        runtime = runtime_path(Path(project.daemon_dir))
        # In /tmp, its directory is made at each start.
        paths.append(Path("/tmp") if runtime.parent == Path("/tmp") else runtime)
        return [path for path in dict.fromkeys(paths) if not any(other in path.parents for other in paths)]


def _command() -> str:
    """Return the command of this installation."""
    script = Path(sys.executable).with_name("jfr-mp")
    return _quoted(str(script)) if script.exists() else f"{_quoted(sys.executable)} -P -m jfr_mp"


def _escaped(character: str) -> str:
    """Return a character of a unit's name, as systemd-escape(1) does."""
    if re.match(r"[A-Za-z0-9:_.]", character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _literal(text: str) -> str:
    """Protect a text from the specifiers of systemd."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return one word of a setting."""
    word = _literal(text)
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
