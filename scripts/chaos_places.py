"""The places of `scripts/chaos --more`: small disks, a disk that answers late, a group with little memory, a clock.

They need root. A place that this machine cannot make is left out, and the reason is printed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.memory_group import MemoryGroup
from tests.support.processes import ROOT

#: Megabytes that the jobs with little memory may use together: enough for four that begin at the same time.
LITTLE_MEMORY = 1000
#: The program that serves the files of a late disk, and Debian's package of it.
_SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
#: Options of sshfs: nothing is remembered, so that every look at a file asks the server.
_SSHFS = "dir_cache=no,attr_timeout=0,entry_timeout=0,negative_timeout=0,ac_attr_timeout=0"


@dataclass(frozen=True)
class LateDisk:
    """A file system whose server can be stopped, so that it answers late.

    Parameters
    ----------
    path
        Where it is mounted.
    server
        The process that answers.
    """

    path: Path
    server: psutil.Process

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Answer nothing until the end of the context, and then everything that was asked."""
        self.server.suspend()
        try:
            yield
        finally:
            self.server.resume()


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system that can be filled."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def late_disk(path: Path) -> Iterator[LateDisk | None]:
    """Mount a directory through FUSE by the sftp server of this machine, without a network."""
    if reason := _without_sshfs():
        print(f"  no files that answer late on this machine: {reason}", flush=True)
        yield None
        return
    behind, program = path.with_name(f"{path.name}-behind"), path.with_name(f"{path.name}-server")
    behind.mkdir(mode=0o700)
    path.mkdir()
    # sshfs starts it in the place of ssh, with arguments that do not matter. Its pid is how the server is found.
    program.write_text(f"#!/bin/sh\necho $$ > {program}.pid\nexec {_SFTP_SERVER}\n")
    program.chmod(0o700)
    command = ["sshfs", "-o", f"ssh_command={program},{_SSHFS}", f"here:{behind}", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    server = psutil.Process(int(Path(f"{program}.pid").read_text()))
    try:
        yield LateDisk(path, server)
    finally:
        with suppress(psutil.NoSuchProcess):
            server.resume()
        subprocess.run(["umount", "-l", str(path)], check=True)
        with suppress(psutil.NoSuchProcess):
            server.terminate()


def _without_sshfs() -> str | None:
    """Return why there is no sshfs, after an attempt to install it; None if there is."""
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if not _SFTP_SERVER.exists():
        return f"there is no {_SFTP_SERVER} (Debian's package openssh-sftp-server)"
    if shutil.which("sshfs") is None and shutil.which("apt-get"):
        print("  installing Debian's package sshfs", flush=True)
        install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "sshfs"]
        subprocess.run(install, check=False, capture_output=True, timeout=300)
    return None if shutil.which("sshfs") else "there is no sshfs, and it cannot be installed: apt-get install sshfs"


@contextmanager
def little_memory() -> Iterator[MemoryGroup | None]:
    """Make a control group in which the kernel ends jobs that use too much memory."""
    try:
        group = MemoryGroup(LITTLE_MEMORY)
    except OSError as error:
        print(f"  no control group on this machine, only `ulimit -v`: {error}", flush=True)
        yield None
        return
    try:
        yield group
    finally:
        group.close()


def make_clock(home: Path) -> None:
    """Make a library that lets the clock of processes jump, if there is a compiler."""
    if compiler := shutil.which("cc"):
        source = ROOT / "scripts" / "chaos_clock.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(home / "clock.so"), str(source)], check=True)
        (home / "time").write_text("+0")
