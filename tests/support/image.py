"""A Containerfile, built and run without a registry: its base image is this machine below an overlay.

The instructions are carried out in their order, as the users that they name. What the file installs from a package
index has to be in the environment of the tests already.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.processes import ROOT, Processes
from tests.support.waiting import wait_until

#: ``sh -c LAYERS DIRECTORY``: mount the overlay at ``DIRECTORY/root``, and keep it.
_LAYERS = """
mount -t tmpfs layers "$0" && mkdir "$0/upper" "$0/work" "$0/root" &&
mount -t overlay -o lowerdir=/,upperdir="$0/upper",workdir="$0/work" overlay "$0/root" &&
mount --bind /dev "$0/root/dev" && mount -t proc proc "$0/root/proc" && exec sleep infinity
"""


def instructions(containerfile: Path) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Containerfile, each with its argument."""
    text = re.sub(r"^#.*\n", "", containerfile.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, argument = line.strip().partition(" ")
            yield name, argument.strip()


@dataclass
class Image:
    """The image that a Containerfile describes; `build` makes it.

    Parameters
    ----------
    containerfile
        The file.
    directory
        Where its layers are, an empty directory.
    processes
        Ends its processes with the test.
    """

    containerfile: Path
    directory: Path
    processes: Processes
    user: str = "root"
    entry_point: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    env: dict[str, str] = field(default_factory=dict)
    _keeper: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def build(self) -> None:
        """Carry out the instructions."""
        self.env["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        keep = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _LAYERS, str(self.directory)]
        self._keeper = self.processes.start(keep)
        wait_until(lambda: self._run("test", "-e", "/proc/self").returncode == 0, 20, "the layers of the image")
        # A base image has its Python where every user finds it.
        for place in (Path(sys.executable), Path(sys.executable).resolve(), ROOT):
            self._must_run("chmod", "o+x", *map(str, place.parents))
        # nor has it users of its own.
        self._must_run("sed", "-i", "-E", "/^[^:]*:[^:]*:1000:/d", "/etc/passwd", "/etc/group")
        for name, argument in instructions(self.containerfile):
            self._carry_out(name, argument)

    def _carry_out(self, name: str, argument: str) -> None:
        match name:
            case "FROM":
                assert "python" in argument
            case "RUN":
                self._must_run("sh", "-c", argument)
            case "USER":
                self.user = argument
            case "ENV":
                self.env |= dict(word.split("=", 1) for word in shlex.split(argument))
            case "VOLUME":
                # Without the directory in the image, a volume belongs to root.
                self._must_run("mkdir", "-p", argument, user="root")
            case "ENTRYPOINT":
                self.entry_point = json.loads(argument)
            case "STOPSIGNAL":
                self.stop_signal = argument
            case "HEALTHCHECK":
                self.health_check = json.loads(argument.partition(" CMD ")[2])
            case _:
                raise NotImplementedError(f"{name} in {self.containerfile}")

    def start(self, volumes: Mapping[Path, str], *arguments: str) -> Container:
        """Run the image with directories of this machine mounted in it."""
        for source, target in volumes.items():
            self._must_run("mkdir", "-p", target, user="root")
            mount = [*self._inside(), "mount", "--bind", str(source), f"{self._root}{target}"]
            subprocess.run(mount, check=True, capture_output=True)
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount", f"--mount-proc={self._root}/proc"]
        argv = [*self._inside(), *own, *self._as_user(self.user), *self.entry_point, *arguments]
        process = self.processes.start(argv)
        children = wait_until(lambda: psutil.Process(process.pid).children(), 20, "the first process")
        return Container(self, process, children[0])

    @property
    def _root(self) -> Path:
        return self.directory / "root"

    def _inside(self) -> list[str]:
        assert self._keeper is not None
        return ["nsenter", f"--target={self._keeper.pid}", "--mount"]

    def _as_user(self, user: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.env.items()]
        home = "/root" if user == "root" else f"/home/{user}"
        return ["chroot", f"--userspec={user}:{user}", str(self._root), "env", "-i", f"HOME={home}", *variables]

    def _run(self, *argv: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [*self._inside(), *self._as_user(user or self.user), *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    def _must_run(self, *argv: str, user: str | None = None) -> None:
        done = self._run(*argv, user=user)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"


@dataclass(frozen=True)
class Container:
    """A running image.

    Parameters
    ----------
    image
        The image.
    process
        The process that waits for its end.
    first
        Its first process.
    """

    image: Image
    process: subprocess.Popen[bytes]
    first: psutil.Process

    def is_healthy(self) -> bool:
        """Run the health check."""
        enter = ["nsenter", f"--target={self.first.pid}", "--pid", "--mount", "--root", "--wd=/"]
        user = ["setpriv", f"--reuid={self.image.user}", f"--regid={self.image.user}", "--init-groups"]
        variables = [f"{name}={value}" for name, value in self.image.env.items()]
        argv = [*enter, *user, "env", "-i", f"HOME=/home/{self.image.user}", *variables, *self.image.health_check]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0
