#!/usr/bin/env python3
"""Boot a real systemd in namespaces of its own, and have it run the units that `jfr-mp systemd install` writes.

    scripts/systemd_units.py

Installed are the units of a project with a remote worker, hence with the full sandbox. They are started, run jobs,
reload a good and a bad project file, are killed, hang until their watchdog restarts them, and are stopped. Printed is
how long each of it took. The root of systemd is an overlay over this machine's, which is thrown away. It needs root and
systemd. Run it with a Python that has jfr-mp[test]; it takes about two minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
import pytest  # noqa: E402
from jobflow import Flow  # noqa: E402
from machines_ground import enter_namespaces  # noqa: E402

from jfr_mp import submit_flow  # noqa: E402
from tests.support.jobs import add  # noqa: E402
from tests.support.mongod import Mongod  # noqa: E402
from tests.support.processes import JFR_MP  # noqa: E402
from tests.support.projects import ProjectFactory, TestProject  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

ROLES = ("checkout", "transfer", "queue", "complete")
UNITS = [f"jfr-mp-main@{role}.service" for role in ROLES]
#: Seconds of the watchdog of the test, instead of a minute, and seconds after which waiting is given up.
WATCHDOG, PATIENCE = 10, 120

#: ``sh -c BOOT DIRECTORY SHARED``: make the root of the system, with one directory of this machine, and be its init.
BOOT = r"""
set -e
mount -t tmpfs -o mode=755 root "$0"; cd "$0"; mkdir upper work root cgroup
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
mount -t cgroup2 cgroup2 cgroup
mkdir "cgroup/${0##*/}"; echo $$ > "cgroup/${0##*/}/cgroup.procs"; umount cgroup
units=root/lib/systemd/system
rm -rf root/etc/systemd/system/* root/etc/fstab $units/*.target.wants
mkdir $units/sockets.target.wants
ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket $units/sockets.target.wants
exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup sh -ec '
cd root; hostname jfr-mp-systemd
mount -t tmpfs -o mode=755 tmpfs run; mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev; mkdir dev/shm dev/pts
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
ln -s /proc/self/fd dev/fd; ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm; mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t proc proc proc; mount --bind proc/sys proc/sys; mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys; mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p ".$0"; mount --bind "$0" ".$0"
mkdir run/old; pivot_root . run/old; cd /; umount -l run/old; rmdir run/old
exec env -i container=jfr-mp PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_module,-sys_time,-sys_boot,-sys_rawio,-syslog,-mknod \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal
' "$1"
"""


class Systemd:
    """A running systemd.

    Parameters
    ----------
    init
        Its process.
    """

    def __init__(self, init: psutil.Process) -> None:
        self._init = init

    def run(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command under it, and return what it printed."""
        inside = ["nsenter", f"--target={self._init.pid}", "--mount", "--pid", "--uts", "--ipc", "--root", "--wd=/"]
        return subprocess.run([*inside, *argv], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def ok(self, *argv: str, env: dict[str, str] | None = None) -> str:
        """Run a command that has to succeed, and return what it printed."""
        done = self.run(*argv, env=env)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ok("systemctl", "show", unit, "--property", name, "--value")

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.ok("journalctl", "--no-pager", "--unit", unit)


@contextmanager
def booted(directory: Path, shared: Path) -> Iterator[Systemd]:
    """Boot systemd with its root below a directory; it sees one more directory of this machine."""
    root = directory / f"systemd-{directory.name}"
    root.mkdir()
    with (directory / "console").open("wb") as console:
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", BOOT, str(root), str(shared)]
        boot = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
    try:

        def init() -> psutil.Process | None:
            assert boot.poll() is None, (directory / "console").read_text(errors="replace")
            found = [each for each in psutil.Process(boot.pid).children() if each.name() == "systemd"]
            return found[0] if found else None

        systemd = Systemd(wait_until(init, 20, "systemd"))
        wait_until(lambda: systemd.run("systemctl", "is-system-running").stdout.strip() == "running", 60, "the boot")
        yield systemd
    finally:
        boot.kill()
        boot.wait()
        _remove_cgroups(root.name)


def _remove_cgroups(name: str) -> None:
    """Remove the empty control groups that a systemd has left."""
    script = 'mount -t cgroup2 cgroup2 /mnt && find "/mnt/$0" -depth -type d -exec rmdir {} +'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, name]
    wait_until(lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0, 20, "empty groups")


class Trial:
    """The units of a project under a systemd, tried in every way."""

    def __init__(self, systemd: Systemd, project: TestProject) -> None:
        self.systemd = systemd
        self.project = project
        self.env = dict(project.env)

    def run(self) -> None:
        """Do everything, and print how long it took."""
        self.install()
        took("start until READY", lambda: self.systemd.ok("systemctl", "start", *UNITS))
        for unit in UNITS:
            assert "1 of 1" in self.systemd.show(unit, "StatusText"), self.systemd.journal(unit)
            exposure = self.systemd.ok("systemd-analyze", "security", "--no-pager", unit).splitlines()[-1]
            level = re.sub(r"[^\x20-\x7e]", "", exposure).rpartition(": ")[2]
            print(f"  {unit}: {self.systemd.show(unit, 'StatusText')}; exposure {level.strip()}")
        took("5 jobs", self.jobs_complete)
        self.reload()
        self.killed()
        self.hung()
        took("5 jobs", self.jobs_complete)
        took("stop", lambda: self.systemd.ok("systemctl", "stop", *UNITS))
        for unit in UNITS:
            state = [self.systemd.show(unit, name) for name in ("ActiveState", "Result")]
            assert state == ["inactive", "success"], f"{unit}: {state}\n{self.systemd.journal(unit)}"
        assert self.project.db.jfr_mp_processes.count_documents({}) == 0
        self.systemd.ok(JFR_MP, "systemd", "uninstall", "--system", "--yes", env=self.env)

    def install(self) -> None:
        """Install and verify the units."""
        roles = [word for role in ROLES for word in ("--role", role)]
        print(self.systemd.ok(JFR_MP, "systemd", "install", "--system", *roles, env=self.env))
        self.systemd.ok("systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}" for unit in UNITS))
        change = f"mkdir $0.d && printf '[Service]\\nWatchdogSec={WATCHDOG}\\n' > $0.d/watchdog.conf"
        self.systemd.ok("sh", "-c", change, "/etc/systemd/system/jfr-mp-main@.service")
        self.systemd.ok("systemctl", "daemon-reload")

    def jobs_complete(self) -> None:
        """Submit jobs and wait until they are completed."""
        count = self.project.db.jobs.count_documents({})
        submit_flow(Flow([add(1, number) for number in range(5)]), worker="far")
        done = {"state": "COMPLETED"}
        wait_until(lambda: self.project.db.jobs.count_documents(done) == count + 5, PATIENCE, "the jobs")

    def role_pid(self, role: str) -> int:
        """Return the pid of a role process that is registered; 0 if there is none."""
        found = self.project.db.jfr_mp_processes.find_one({"kind": "role", "name": f"{role}-1"})
        return int(found["pid"]) if found else 0

    def reload(self) -> None:
        """Reload a good file, which replaces the role processes, and a bad one, which does not."""
        unit, before = UNITS[0], self.role_pid("checkout")
        master = self.systemd.show(unit, "MainPID")

        def replaced() -> None:
            self.project.rewrite(runner={"delay_checkout": 7})
            self.systemd.ok("systemctl", "reload", unit)
            wait_until(lambda: self.role_pid("checkout") not in (0, before), PATIENCE, "another role process")

        took("reload until another role process works", replaced)
        good, after = self.project.project_file.read_text(), self.role_pid("checkout")
        self.project.project_file.write_text(f"{good}no_such_field: 1\n")
        self.systemd.ok("systemctl", "reload", unit)
        wait_until(lambda: "no_such_field" in self.systemd.journal(unit), 30, "the refusal of a bad file")
        self.project.project_file.write_text(good)
        assert (self.systemd.show(unit, "MainPID"), self.role_pid("checkout")) == (master, after)
        print(f"  a bad file is refused: {self.systemd.show(unit, 'StatusText')}")

    def killed(self) -> None:
        """Kill a master, which systemd starts again."""
        took("restart after SIGKILL", lambda: self.restarted(UNITS[1], "SIGKILL"))

    def hung(self) -> None:
        """Stop a master, so that it misses its watchdog of ten seconds."""
        took(f"restart after SIGSTOP (watchdog {WATCHDOG} s)", lambda: self.restarted(UNITS[2], "SIGSTOP"))
        assert "Watchdog timeout" in self.systemd.ok("journalctl", "--no-pager", "--unit", UNITS[2])

    def restarted(self, unit: str, signal: str) -> None:
        """Send a signal to the master of a unit, and wait until there is another one that is ready."""
        before = self.systemd.show(unit, "MainPID")
        self.systemd.ok("systemctl", "kill", "--kill-who=main", f"--signal={signal}", unit)

        def again() -> bool:
            pid, state = self.systemd.show(unit, "MainPID"), self.systemd.show(unit, "ActiveState")
            return pid not in ("0", before) and state == "active"

        wait_until(again, PATIENCE, f"another master of {unit}")
        assert self.systemd.show(unit, "NRestarts") == "1"


def took(what: str, action: Callable[[], object]) -> None:
    """Do something and print how long it took."""
    begun = time.monotonic()
    action()
    print(f"{what}: {time.monotonic() - begun:.1f} s", flush=True)


def main() -> int:
    """Run the trial."""
    enter_namespaces()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-systemd-")))
        shared = directory / "shared"
        shared.mkdir()
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        mongod = Mongod(directory / "mongod", replica_set="rs")
        mongod.start()
        stack.callback(mongod.close)
        sshd = Sshd(directory / "cluster")
        sshd.offer_jfr_mp()
        sshd.start()
        stack.callback(sshd.stop)
        factory = ProjectFactory(shared, monkeypatch, mongod)
        key = shared / "key"
        key.touch(0o600)
        key.write_bytes(sshd.key.read_bytes())
        worker = sshd.worker(shared / "work-far", key_filename=str(key), timeout_execute=60)
        project = factory()
        project.rewrite(workers={"far": worker}, metadata={"jfr_mp": {"lease_ttl": 8.0, "heartbeat_interval": 1.0}})
        begun = time.monotonic()
        systemd = stack.enter_context(booted(directory, shared))
        print(f"systemd is running after {time.monotonic() - begun:.1f} s: {systemd.ok('systemctl', '--version')[:12]}")
        Trial(systemd, project).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
