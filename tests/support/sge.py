"""A real Grid Engine on this machine, in a network namespace of its own because it listens on all addresses.

Its clients are in `bin`, wrapped so that they work from anywhere on this machine: put that directory on PATH.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jfr_mp.hosts.quoting import quote
from tests.support.processes import free_port, wait_gone
from tests.support.sshd import Namespace
from tests.support.waiting import wait_until

_LIBRARY = Path("/usr/lib/gridengine")
_SHARE = Path("/usr/share/gridengine")
_CLIENTS = ("qsub", "qstat", "qdel", "qconf", "qalter", "qhold", "qrls", "qselect")


class GridEngine:
    """A cell with one host, `all.q` with 64 slots and the parallel environment `smp`.

    Parameters
    ----------
    directory
        Where configuration, state and logs are kept.
    """

    def __init__(self, directory: Path) -> None:
        assert os.geteuid() == 0, "the tests with Grid Engine need root: run them in a container, or leave them out"
        self.root = directory / "root"
        self.bin = directory / "bin"
        self._env = {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "test",
            "SGE_ARCH": "lx-amd64",
            "SGE_QMASTER_PORT": str(free_port()),
            "SGE_EXECD_PORT": str(free_port()),
        }
        self._namespace: Namespace | None = None
        self._daemons: list[int] = []

    @property
    def namespace(self) -> Namespace:
        """Where the daemons listen, while they run."""
        assert self._namespace is not None, "this Grid Engine is stopped"
        return self._namespace

    def start(self) -> None:
        """Start the daemons and return when the queue takes jobs."""
        self._namespace = Namespace()
        self._enter = [*self.namespace.enter, "env", *(f"{k}={v}" for k, v in self._env.items())]
        self._make_directories()
        self._make_database()
        self._run("/usr/sbin/sge_qmaster")
        self._await_daemon("spool/qmaster/qmaster.pid")
        wait_until(lambda: self._try("qconf", "-sh"), 30, "an answer of qmaster")
        self._run("qconf", "-as", "localhost")
        self._run("/usr/sbin/sge_execd")
        self._await_daemon("spool/execd/localhost/execd.pid")
        self._make_queue()
        wait_until(self._queue_is_up, 30, "a queue that takes jobs")

    def stop(self) -> None:
        """End all jobs, the daemons and the namespace."""
        if self._namespace is None:
            return
        if self._daemons:
            self._try("qdel", "-f", "-u", "*")
            self._try("qconf", "-ke", "all")
            wait_gone(self._daemons[1:], 60)
            # Asked politely, qmaster takes ten seconds to go.
            os.kill(self._daemons[0], signal.SIGKILL)
            wait_gone(self._daemons)
        self._namespace.close()
        self._namespace = None

    def configure(self, **values: object) -> None:
        """Set values of the cell's configuration, such as ``max_u_jobs=2``."""
        path = self.root / "global"
        path.write_text(_changed(self._run("qconf", "-sconf"), {key: str(value) for key, value in values.items()}))
        self._run("qconf", "-Mconf", str(path))

    def _make_directories(self) -> None:
        for name in ("qmaster/job_scripts", "spooldb", "execd"):
            (self.root / "spool" / name).mkdir(parents=True)
        for name in ("bin", "lib", "utilbin"):
            (self.root / name).mkdir()
            (self.root / name / self._env["SGE_ARCH"]).symlink_to(_LIBRARY)
        (self.root / "util").symlink_to(_SHARE / "util")
        common = self.root / self._env["SGE_CELL"] / "common"
        common.mkdir(parents=True)
        (common / "act_qmaster").write_text("localhost\n")
        (common / "bootstrap").write_text(_bootstrap(self.root))
        self.bin.mkdir()
        for name in _CLIENTS:
            client = self.bin / name
            client.write_text(f'#!/bin/sh\nexec {quote([*self._enter, f"/usr/bin/{name}"])} "$@"\n')
            client.chmod(0o755)

    def _make_database(self) -> None:
        changes = {
            "execd_spool_dir": f"{self.root}/spool/execd",
            "min_uid": "0",
            "min_gid": "0",
            "mailer": "/bin/true",
            "xterm": "/bin/true",
            "administrator_mail": "none",
            "load_report_time": "00:00:05",
            # The start-up files of root are none of our business, and may take their time.
            "login_shells": "csh",
        }
        configuration = _changed((_SHARE / "default-configuration").read_text(), changes)
        path = self.root / "configuration"
        path.write_text(configuration.replace("flush_time=00:00:15", "flush_time=00:00:01"))
        self._run(f"{_LIBRARY}/spoolinit", "berkeleydb", "libspoolb", f"{self.root}/spool/spooldb", "init")
        for what in (
            ("configuration", path),
            ("complexes", _SHARE / "util/resources/centry"),
            ("usersets", _SHARE / "util/resources/usersets"),
            ("managers", "root"),
        ):
            self._run(f"{_LIBRARY}/spooldefaults", *map(str, what))

    def _make_queue(self) -> None:
        for option, name, content in (("-Ap", "pe", _PARALLEL_ENVIRONMENT), ("-Aq", "queue", _QUEUE)):
            path = self.root / name
            path.write_text(content)
            self._run("qconf", option, str(path))
        quick = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
        quick |= {"job_load_adjustments": "NONE", "load_adjustment_decay_time": "0:0:0"}
        path = self.root / "scheduler"
        path.write_text(_changed(self._run("qconf", "-ssconf"), quick))
        self._run("qconf", "-Msconf", str(path))

    def _queue_is_up(self) -> bool:
        """Tell whether the queue has no letter for trouble, nor an unknown load."""
        states = [line.split() for line in self._run("qstat", "-f").splitlines() if line.startswith("all.q@")]
        return bool(states) and len(states[0]) == 5 and states[0][3] != "-NA-"

    def _await_daemon(self, pid_file: str) -> None:
        path = self.root / pid_file
        wait_until(lambda: path.exists() and path.read_text().strip(), 30, f"the daemon of {path}")
        self._daemons.append(int(path.read_text()))

    def _try(self, *argv: str) -> bool:
        return self._call(argv).returncode == 0

    def _run(self, *argv: str) -> str:
        done = self._call(argv)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def _call(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._enter, *argv], text=True, capture_output=True, timeout=60, check=False)


def _changed(text: str, changes: Mapping[str, str]) -> str:
    """Return a configuration of lines ``name value`` with other values."""
    return re.sub(
        r"^(\w+)( +).*$",
        lambda line: f"{line[1]} {changes[line[1]]}" if line[1] in changes else line[0],
        text,
        flags=re.MULTILINE,
    )


def _bootstrap(root: Path) -> str:
    return f"""
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         {root}/spool/spooldb
binary_path             /usr/sbin
qmaster_spool_dir       {root}/spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
"""


_PARALLEL_ENVIRONMENT = """
pe_name            smp
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
"""

#: As many sites have it, the shell of the queue is not that of our scripts.
_QUEUE = "\n".join(
    [
        *("qname all.q", "hostlist localhost", "seq_no 0", "nsuspend 1", "suspend_interval 00:05:00", "priority 0"),
        *("min_cpu_interval 00:05:00", "processors UNDEFINED", "qtype BATCH INTERACTIVE", "pe_list smp"),
        *("rerun FALSE", "slots 64", "tmpdir /tmp", "shell /bin/false", "shell_start_mode posix_compliant"),
        *("notify 00:00:60", "initial_state default"),
        *(
            f"{name} NONE"
            for name in (
                *("load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog", "starter_method"),
                *("suspend_method", "resume_method", "terminate_method", "owner_list", "user_lists", "xuser_lists"),
                *("subordinate_list", "complex_values", "projects", "xprojects", "calendar"),
            )
        ),
        *(
            f"{strength}_{what} INFINITY"
            for what in ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
            for strength in ("s", "h")
        ),
        "",
    ]
)
