"""Bad configuration and bad databases: a clear error that says what to do, and an exit code that is not 0."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.processes import Processes, free_port, run_cli
from tests.support.user import User

pytestmark = pytest.mark.timeout(300)

SECRET = "hunter2-is-nobodys-business"

#: Seconds within which a bad database must be noticed, and what a loaded machine needs for the start of a command.
NOTICED_WITHIN, START_UP = 10.0, 30.0

COMMANDS = [["start"], ["status"], ["job", "list"], ["submit"], ["run", "--ticks", "1"], ["project", "check"]]


def typed(user: User, command: list[str]) -> list[str]:
    """Complete a command: there has to be something to submit."""
    return [*command, str(user.flow_file("add(1, 1)"))] if command == ["submit"] else command


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_project(user: User, command: list[str]) -> None:
    # Given a user who has no project at all
    user.project.project_file.unlink()
    del (env := dict(user.project.env))["JFREMOTE_PROJECT"]

    # When any command is typed
    done = run_cli(*typed(user, command), env=env, cwd=user.desk)

    # Then it says how to make one
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert "jfr-mp init" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_project_that_does_not_exist(user: User) -> None:
    message = user.refused("-p", "mian", "status", code=ExitCode.CONFIG)
    assert "mian" in message
    assert "main" in message.replace("mian", "")


def test_two_projects_and_none_chosen(new_user: NewUser) -> None:
    # Given two projects
    first, second = new_user("first"), new_user("second")
    del (env := dict(second.project.env))["JFREMOTE_PROJECT"]

    # When none is chosen
    done = run_cli("status", env=env)

    # Then both are named, and how to choose
    assert done.returncode == ExitCode.CONFIG
    assert all(word in done.stderr for word in ("first", "second", "-p", "JFREMOTE_PROJECT")), done.stderr

    # And choosing works, in front of the command and behind it
    for argv in (["-p", "first", "status"], ["status", "-p", "first"]):
        chosen = run_cli(*argv, env=env)
        assert chosen.returncode == ExitCode.NOT_RUNNING
        assert "Project first" in chosen.stdout
    assert first.project.name == "first"


BROKEN = {
    "no YAML": ("name: main\nworkers:\n  local: {type: local\nqueue: [", ["main.yaml", "line"]),
    "a tab": ("name: main\n\tworkers: {}\n", ["main.yaml", "line 2"]),
    "no mapping": ("- just\n- a list\n", ["main.yaml"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_yaml_that_does_not_parse(user: User, name: str) -> None:
    text, says = BROKEN[name]
    user.project.project_file.write_text(text)
    message = user.refused("start", code=ExitCode.CONFIG)
    assert all(word in message for word in says), message


WRONG_FIELDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown at the top": ({"wrokers": {}}, ["wrokers", "workers"]),
    "unknown in a worker": (
        {"workers": {"local": {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp", "max_job": 3}}},
        ["workers.local", "max_job", "max_jobs"],
    ),
    "no such type of worker": (
        {"workers": {"local": {"type": "lokal", "scheduler_type": "shell", "work_dir": "/tmp"}}},
        ["workers.local.type", "'local'", "separated_transfer"],
    ),
    "a word for a number": ({"runner": {"max_step_attempts": "three"}}, ["runner.max_step_attempts", "integer"]),
    "no such log level": ({"log_level": "loud"}, ["log_level", "'debug'"]),
    "unknown among ours": (
        {"metadata": {"jfr_mp": {"probe_intervall": 1}}},
        ["metadata.jfr_mp", "probe_intervall", "probe_interval"],
    ),
    "wrong among ours": ({"metadata": {"jfr_mp": {"lease_ttl": "soon"}}}, ["metadata.jfr_mp.lease_ttl", "number"]),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_unknown_or_wrong_fields(user: User, name: str) -> None:
    fields, says = WRONG_FIELDS[name]
    user.project.rewrite(**fields)
    message = user.refused("status", code=ExitCode.CONFIG)
    assert "main.yaml" in message
    assert all(word in message for word in says), message
    assert user.project.server.password not in message


def test_a_broken_project_does_not_hide_the_others(new_user: NewUser) -> None:
    broken, good = new_user("broken"), new_user("good")
    broken.project.project_file.write_text("name: [")
    assert good.json("status", code=ExitCode.NOT_RUNNING)["project"] == "good"
    rows = {row["name"]: row for row in good.json("project", "list")}
    assert rows["good"]["error"] is None
    assert "broken.yaml" in rows["broken"]["error"]


@pytest.mark.parametrize("work_dir", ["/proc/no/such", "/dev/null/work"], ids=["read-only file system", "below a file"])
def test_init_in_a_directory_that_cannot_be_made(user: User, work_dir: str) -> None:
    message = user.refused("init", "other", "--work-dir", work_dir, "--yes", code=ExitCode.CONFIG)
    assert work_dir in message
    assert not user.project.project_file.with_name("other.yaml").exists()


def test_init_leaves_an_existing_project_alone(user: User) -> None:
    before = user.project.project_file.read_bytes()
    assert "already exists" in user.refused("init", "main", "--yes", code=ExitCode.CONFIG)
    assert user.project.project_file.read_bytes() == before


# Databases


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port on which connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


def bad_store(user: User, kind: str, port: int) -> str:
    """Point the project to a database with a secret password; return its address."""
    store = {**user.project.document["queue"]["store"], "port": port, "password": SECRET}
    address = f"{store['host']}:{port}"
    if kind.endswith("as a URI"):
        uri = f"mongodb://{store['username']}:{SECRET}@{address}/?authSource=admin"
        store = {"type": "MongoURIStore", "uri": uri, "database": store["database"], "collection_name": "jobs"}
    user.project.rewrite(queue={"store": store})
    return address


@pytest.mark.parametrize("command", [["start"], ["submit"], ["project", "check"]], ids=" ".join)
def test_a_database_that_is_down(user: User, command: list[str]) -> None:
    check_bad_database(user, "nobody there", command, free_port())


def test_a_database_that_takes_connections_and_never_answers(user: User, deaf_port: int) -> None:
    check_bad_database(user, "deaf, as a URI", ["status"], deaf_port)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("kind", ["the wrong password", "the wrong password, as a URI"])
def test_a_database_that_refuses_the_password(user: User, kind: str, command: list[str]) -> None:
    check_bad_database(user, kind, command, user.project.server.port)


def check_bad_database(user: User, kind: str, command: list[str], port: int) -> None:
    # Given a database that is away, or refuses us
    address = bad_store(user, kind, port)
    argv = typed(user, command)

    # When a command needs it
    began = time.monotonic()
    with CommandLines(SECRET) as command_lines:
        done = user.types(*argv)
    took = time.monotonic() - began

    # Then it says so in time, with host and port
    report = done.stdout + done.stderr
    assert took < NOTICED_WITHIN + START_UP
    expected = ExitCode.CHECK_FAILED if command[0] == "project" else ExitCode.DATABASE
    assert done.returncode == expected, report
    assert address in report
    assert "Traceback" not in report

    # And the password is nowhere: not in what is printed, nor in a command line, nor in a file but the project's
    assert SECRET not in report
    assert command_lines.seen == []
    assert files_with(SECRET, user.project.base_dir) == []
    assert "password" in report.lower() or kind.startswith(("nobody", "deaf"))


class CommandLines:
    """Watches whether a text appears on the command line of any process, for as long as the block lasts."""

    def __init__(self, text: str) -> None:
        self.seen: list[str] = []
        self._text = text
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.seen += [line for line in command_lines() if self._text in line]


def command_lines() -> list[str]:
    """Return the command lines of all processes."""
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


def files_with(text: str, directory: Path) -> list[Path]:
    """Return the files below a directory that hold a text."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_nothing_of_a_running_master_shows_the_password(busy: User) -> None:
    # Given a master that runs, logs everything, and has run a job
    flow = busy.submit("Flow([add(1, 1), raises()])").wait_for("FAILED")
    flow.wait_for_states(["COMPLETED", "FAILED"])
    password = busy.project.server.password

    # Then its password is on no command line, in no output, and in no file but the project's own
    shown = [busy.ok(*argv) for argv in (["status"], ["logs", "-n", "100000"], ["job", "info", flow.db_ids[1]])]
    assert not any(password in text for text in [*shown, *command_lines()])
    everything = busy.project.project_file.parent.parent
    assert files_with(password, everything) == [busy.project.project_file]


def test_jobs_get_no_secrets_and_their_directories_are_private(new_user: NewUser) -> None:
    # Given a user with secrets in the shell, one of which jobs need, and a project file that others can read
    user = new_user(metadata={"jfr_mp": {"pass_environment": ["NEEDED_TOKEN"]}})
    user.project.project_file.chmod(0o644)
    secrets = {"GITHUB_TOKEN": "g", "DB_PASSWORD": "p", "NEEDED_TOKEN": "n", "COLOUR": "red"}
    env = {**user.project.env, **secrets}

    # When the processes are started, then they warn of the file
    started = run_cli("start", env=env, cwd=user.desk, timeout=90)
    assert started.returncode == 0, started.stderr
    path = user.project.project_file
    assert f"{path} contains a password and can be read by other users" in " ".join(started.stderr.split())

    # And a job has only what it may have, warm or cold, and nobody else can look into its directory
    flow = user.submit(f"Flow([variables({[*secrets, 'HOME', 'PATH']})])").wait_for("COMPLETED")
    found = flow.outputs[0]
    assert {name: value for name, value in found.items() if name in secrets} == {"NEEDED_TOKEN": "n", "COLOUR": "red"}
    assert (found["HOME"], found["PATH"]) == (env["HOME"], env["PATH"])
    run_dir = Path(flow.job()["run_dir"])
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(run_dir.parent.stat().st_mode) == 0o777 & ~_umask()
    user.ok("stop")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_holds_or_reveals_something_is_private(new_user: NewUser, processes: Processes) -> None:
    # Given a newcomer whose files are open to everybody by default, and a project that was made for them
    user = new_user()
    user.project.project_file.unlink()
    user.project.server.client.drop_database(user.project.db)
    env = {**user.project.env, "JFREMOTE_PROJECT": "mine"}
    mask = os.umask(0)
    try:
        for argv in (["init", "mine", "--yes"], ["start"]):
            done = run_cli(*argv, env=env, cwd=user.desk, timeout=90)
            assert done.returncode == 0, done.stderr

        # Then the project file, the logs, and what belongs to the master and the database are theirs alone
        folder = user.project.project_file.parent
        project_file, base_dir = folder / "mine.yaml", folder / "mine"
        (log_dir,) = base_dir.glob("log/jfr_mp")
        private = [project_file, log_dir, *log_dir.iterdir(), *(base_dir / "mongod").glob("**")]
        private += base_dir.glob("daemon/jfr_mp/*")
        assert {path.name: mode for path in private if (mode := path.stat().st_mode & 0o077)} == {}

        # And everything is stopped again
        for argv in (["stop"], ["db", "stop"]):
            assert run_cli(*argv, env=env, cwd=user.desk, timeout=60).returncode == 0
    finally:
        os.umask(mask)
