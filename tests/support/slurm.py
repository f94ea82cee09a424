"""A real Slurm on this machine: a controller, one node with 64 pretended CPUs, and a munge of its own.

Nothing is in /etc, nothing listens but on the loopback interface. Partitions: `main`; `short`, whose jobs are ended
after a minute; `down`, where they wait for ever. An ended job is forgotten after a few seconds, as on busy sites.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import free_port, wait_gone
from tests.support.waiting import wait_until

#: The daemons take their address from the name of the machine, so they get a namespace where that is localhost.
_AS_LOCALHOST = ("unshare", "-u", "sh", "-c", 'hostname localhost && exec "$@"', "sh")
_SBIN = "/usr/sbin"
#: Each job gets a Unix socket below the directory, whose path may have 107 characters; where it has more, nothing runs.
_LONGEST_DIRECTORY = 76


class Slurm:
    """A cluster that can be stopped, killed and started again with the same jobs.

    Parameters
    ----------
    directory
        Where configuration, state and logs are kept.
    """

    def __init__(self, directory: Path) -> None:
        assert os.geteuid() == 0, "the tests with Slurm need root: run them in a container, or leave them out"
        assert len(str(directory)) <= _LONGEST_DIRECTORY, f"{directory} is too long for Slurm: use `tmp_path_factory`"
        self.directory = directory
        self.env: Mapping[str, str] = {"SLURM_CONF": str(directory / "slurm.conf")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "state", "spool", "log"):
            (directory / name).mkdir(parents=True)
        key = directory / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        (directory / "slurm.conf").write_text(_configuration(directory, free_port(), free_port()))
        # Without this file slurmd looks for a cgroup file system, and gives up where there is none.
        (directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def start(self) -> None:
        """Start all daemons and return when the node takes jobs."""
        munge = self.directory / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        # The directories of pytest are for their owner alone; munge thinks of other users.
        self._start(
            "munged", "--foreground", "--force", *(f"--{option}={munge / name}" for option, name in files.items())
        )
        wait_until((munge / "socket").exists, 10, "the socket of munge")
        self.start_controller()
        self._start("slurmd", "-D", "-f", self.env["SLURM_CONF"])
        wait_until(lambda: self.run("sinfo", "-h", "-p", "main", "-o", "%t") in ("idle", "mix"), 30, "an idle node")

    def start_controller(self) -> None:
        """Start the controller, which finds the jobs that it had, and return when it answers."""
        self._start("slurmctld", "-D", "-f", self.env["SLURM_CONF"])
        wait_until(lambda: self.run("scontrol", "ping").endswith("is UP"), 30, "an answer of slurmctld")

    def kill_controller(self) -> None:
        """Let the controller die as in a crash; running jobs go on."""
        process = self._running.pop("slurmctld")
        process.kill()
        process.wait()

    def stop_controller(self) -> None:
        """End the controller when it has written down what it knows; running jobs go on."""
        process = self._running.pop("slurmctld")
        process.terminate()
        process.wait(timeout=30)
        wait_gone([process.pid])

    def cancel_all(self) -> None:
        """End all jobs."""
        self.run("scancel", "--user=root")
        wait_until(lambda: not self.run("squeue", "-h", "-o", "%i"), 60, "the end of all jobs")

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        if "slurmctld" in self._running:
            self.cancel_all()
        # The controller first, which would take its time to say good-bye to a node that is away.
        for name in ("slurmctld", "slurmd", "munged"):
            if process := self._running.pop(name, None):
                process.kill() if name == "slurmctld" else process.terminate()
                process.wait(timeout=30)
                wait_gone([process.pid])

    def run(self, *argv: str) -> str:
        """Run a command of Slurm and return what it printed, whatever its exit code."""
        env = {**os.environ, **self.env}
        return subprocess.run(argv, env=env, text=True, capture_output=True, check=False).stdout.strip()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.directory / "log" / f"{name}.out").open("ab") as log:
            argv = [*_AS_LOCALHOST, f"{_SBIN}/{name}", *arguments]
            self._running[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def _configuration(directory: Path, controller_port: int, node_port: int) -> str:
    return f"""
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd.log
MailProg=/bin/true
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
KillWait=2
MinJobAge=2
CompleteWait=0
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,default_queue_depth=2000,bf_interval=2,bf_max_job_test=2000
NodeName=node NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=64 RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes=node Default=YES MaxTime=INFINITE DefaultTime=60 State=UP OverSubscribe=NO
PartitionName=short Nodes=node MaxTime=1 DefaultTime=1 State=UP
PartitionName=down Nodes=node State=DOWN
"""
