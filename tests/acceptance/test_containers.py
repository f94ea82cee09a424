"""A master as the first process of a container, for which a pid namespace stands here."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer.main
from ruamel.yaml import YAML

from jfr_mp.cli.app import app
from jfr_mp.config import Project
from jfr_mp.errors import ExitCode
from tests.support.image import Image
from tests.support.machines import require_namespaces
from tests.support.processes import JFR_MP, ROOT, Processes, is_alive, run
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

CONTAINER = ROOT / "docs" / "container"


def entry_point() -> list[str]:
    """Return the command of the Containerfile."""
    found = re.search(r"^ENTRYPOINT (\[.*\])$", (CONTAINER / "Containerfile").read_text(), re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


class Container:
    """A pid namespace with a mounted /proc, whose first process is the entry point."""

    def __init__(self, user: User, processes: Processes, *arguments: str) -> None:
        self._user, self._processes = user, processes
        command = [JFR_MP, *entry_point()[1:], *arguments]
        argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *command]
        self.unshare = processes.start(argv, env=user.project.env, cwd=user.desk)
        wait_until(lambda: psutil.Process(self.unshare.pid).children(), 10, "the first process")
        (self.first,) = psutil.Process(self.unshare.pid).children()

    def runs(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace, as ``podman exec`` does."""
        command = ["nsenter", "--target", str(self.first.pid), "--pid", "--mount", "--", *argv]
        return run(command, env=self._user.project.env, cwd=self._user.desk)

    def health(self, *options: str) -> tuple[int, dict[str, Any]]:
        done = self.runs(JFR_MP, "health", "--json", *options)
        return done.returncode, json.loads(done.stdout)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log on the standard output, each line of which must be JSON."""
        return [json.loads(line) for line in self._processes.output(self.unshare).splitlines()]

    def logs(self, text: str) -> None:
        wait_until(lambda: any(text in entry["message"] for entry in self.log), 30, text)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.end_all()


def test_the_entry_point_of_the_container_runs_as_the_first_process(user: User, processes: Processes) -> None:
    # When the container starts
    container = Container(user, processes)
    wait_until(lambda: container.health()[0] == ExitCode.OK, 60, "a container that is ready")

    # Then the master is its first process, and jobs run
    assert container.health()[1] == {"project": "main", "live": True, "ready": True, "problems": []}
    assert container.runs("cat", "/proc/1/cmdline").stdout.split("\0")[1:4] == [JFR_MP, "start", "--foreground"]
    flow = user.submit("add(1, 1)").wait_for("COMPLETED")

    # And its log is JSON, with the name of the process that each entry is from
    container.logs(f"complete of job {flow.db_ids[0]}: COMPLETED")
    assert {"master", "complete-1"} <= {entry["process"] for entry in container.log}
    assert {entry["level"] for entry in container.log} <= {"info", "warning"}

    # And it reaps what others have left
    orphan = int(container.runs("sh", "-c", "sleep 1 >/dev/null & echo $!").stdout)
    wait_until(lambda: container.runs("test", "-e", f"/proc/{orphan}").returncode != 0, 20, "an orphan is reaped")

    # And SIGHUP reloads the project file
    container.first.send_signal(signal.SIGHUP)
    container.logs("reloading")
    wait_until(lambda: container.health()[0] == ExitCode.OK, 60, "a container that is ready again")

    # And `podman stop` stops it in order
    container.first.send_signal(signal.SIGTERM)
    assert container.unshare.wait(30) == 0, processes.output(container.unshare)
    assert user.project.db.jfr_mp_processes.count_documents({}) == 0


def test_the_probes_tell_a_hung_master_from_one_that_waits(user: User, processes: Processes) -> None:
    # Given no master
    assert user.json("health", code=ExitCode.NOT_RUNNING)["live"] is False

    # Given one that is ready
    container = Container(user, processes, "--queue")
    wait_until(lambda: container.health("--ready")[0] == ExitCode.OK, 60, "a container that is ready")
    assert container.health("--live") == (0, {"project": "main", "live": True, "problems": []})

    # When a role process is replaced and has to wait for a project file that can be used
    text = user.project.project_file.read_text()
    user.project.project_file.write_text(text + "\nno_such_field: 1\n")
    (role,) = [child for child in container.first.children(recursive=True) if "queue-1" in "".join(child.cmdline())]
    role.kill()
    container.logs("waiting for a project file")
    user.project.project_file.write_text(text)
    # Then the container is ready again when the file is good
    wait_until(lambda: container.health()[0] == ExitCode.OK, 30, "a container that is ready again")

    # When its main loop hangs
    container.first.suspend()
    # Then it is not live
    code, found = container.health("--live")
    assert (code, found["live"]) == (ExitCode.NOT_RUNNING, False)
    assert "does not answer" in found["problems"][0]
    container.first.resume()
    wait_until(lambda: container.health("--live")[0] == ExitCode.OK, 20, "a master that answers again")

    # And Ctrl-C on the terminal of the container stops it
    container.first.send_signal(signal.SIGINT)
    assert container.unshare.wait(30) == 0
    assert not is_alive(container.first.pid)


def test_the_image_is_built_and_runs_as_the_containerfile_says(
    user: User, processes: Processes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given the image, and a volume with a project, whose directories are in the image
    require_namespaces()
    image = Image(CONTAINER / "Containerfile", tmp_path_factory.mktemp("image"), processes)
    image.build()
    (volume := tmp_path / "volume").mkdir()
    document = {**user.project.document, "base_dir": "/var/lib/jfr-mp/main"}
    YAML(typ="safe").dump(document, volume / "main.yaml")
    for path in (volume, volume / "main.yaml"):
        shutil.chown(path, 1000, 1000)
        path.chmod(0o700)

    # When it is run with the arguments that the compose file has for one of its services
    container = image.start({volume: "/projects"}, "--checkout", "--complete")

    # Then it is healthy, and does its part of a job without being root
    wait_until(container.is_healthy, 60, f"a healthy container\n{processes.output(container.process)}")
    assert container.first.uids().real == 1000
    user.submit("add(1, 1)").wait_for_job("CHECKED_OUT")

    # And its stop signal stops it in order
    container.first.send_signal(getattr(signal, image.stop_signal))
    assert container.process.wait(60) == 0, processes.output(container.process)
    assert user.project.db.jfr_mp_processes.count_documents({}) == 0


def commands_of_compose() -> list[list[str]]:
    services = YAML(typ="safe").load((CONTAINER / "compose.yaml").read_text())["services"]
    ours = [service for service in services.values() if service["image"] == "jfr-mp"]
    checks = [service["healthcheck"]["test"][1:] for service in ours]
    return [*(entry_point() + service["command"] for service in ours), *checks]


@pytest.mark.parametrize("argv", commands_of_compose(), ids=" ".join)
def test_the_commands_of_the_compose_file_exist(argv: list[str]) -> None:
    root: Any = typer.main.get_command(app)
    command = root.get_command(None, argv[1])
    command.make_context(argv[1], argv[2:], resilient_parsing=True)
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in argv if word.startswith("--")} <= flags


def test_the_project_of_the_compose_file_is_valid() -> None:
    document = YAML(typ="safe").load((CONTAINER / "projects" / "main.yaml").read_text())
    assert Project.model_validate(document).name == "main"
