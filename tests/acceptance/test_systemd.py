"""Installing and removing the units of a project."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from jfr_mp.errors import ExitCode
from tests.support.processes import Processes, run_cli
from tests.support.service_manager import NotifySocket
from tests.support.user import User


def test_units_are_shown_installed_and_removed(user: User, tmp_path: Path) -> None:
    # Given a user without a systemd that could be told
    directory = Path(user.project.env["HOME"]) / ".config" / "systemd" / "user"
    unknown = {"XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"}
    env = {name: value for name, value in user.project.env.items() if name not in unknown}
    env["XDG_RUNTIME_DIR"] = str(tmp_path / "nothing")

    def types(*argv: str) -> subprocess.CompletedProcess[str]:
        return run_cli("systemd", *argv, env=env, cwd=user.desk)

    # When they are installed
    done = types("install", "--role", "transfer", "--role", "queue")
    # Then there is a unit for all roles and a template, and the user is told how to start those of the roles
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in directory.iterdir()) == ["jfr-mp-main.service", "jfr-mp-main@.service"]
    assert "systemctl --user enable --now jfr-mp-main@transfer.service jfr-mp-main@queue.service" in done.stdout
    assert "daemon-reload" in done.stderr
    text = (directory / "jfr-mp-main.service").read_text()
    assert f"JFREMOTE_PROJECTS_FOLDER={env['JFREMOTE_PROJECTS_FOLDER']}" in text
    # And what is shown is what is installed
    shown = types("show").stdout
    assert all(path.read_text() in shown for path in directory.iterdir())

    # When they are removed, which has to be confirmed
    assert types("uninstall").returncode != 0
    assert len(list(directory.iterdir())) == 2
    assert types("uninstall", "--yes").returncode == 0
    # Then they are gone, and a second time there is nothing to remove
    assert list(directory.iterdir()) == []
    assert "no units" in types("uninstall", "--yes").stderr

    # And a unit that the user has masked is not written into what its link leads to
    (directory / "jfr-mp-main.service").symlink_to("/dev/null")
    masked = types("install")
    assert masked.returncode != 0
    assert "jfr-mp-main.service is a link to /dev/null" in masked.stderr
    (directory / "jfr-mp-main.service").unlink()

    # And those of the system run as another user, and can be written to any directory
    other = tmp_path / "units"
    assert types("install", "--system", "--run-as", "daemon", "--directory", str(other)).returncode == 0
    assert "\nUser=daemon\n" in (other / "jfr-mp-main.service").read_text()
    assert types("show", "--run-as", "daemon").returncode == ExitCode.USAGE
    assert list(directory.iterdir()) == []


def test_the_command_of_a_unit_starts_a_service(user: User, tmp_path: Path) -> None:
    # Given the unit for a role, and what systemd makes of it: a command and an environment
    units = tmp_path / "units"
    user.ok("systemd", "install", "--directory", str(units))
    lines = (units / "jfr-mp-main@.service").read_text().replace("%i", "queue").splitlines()
    settings = [line.partition("=")[::2] for line in lines if "=" in line]
    (command,) = [shlex.split(value) for key, value in settings if key == "ExecStart"]
    given = [shlex.split(value)[0].partition("=")[::2] for key, value in settings if key == "Environment"]
    processes = Processes(tmp_path)
    # and the journal, for which the file of the output stands here
    (journal := tmp_path / "0.log").touch()
    stream = f"{journal.stat().st_dev}:{journal.stat().st_ino}"
    with NotifySocket(str(tmp_path / "notify")) as heard:
        env = {**dict(given), "HOME": user.project.env["HOME"], "NOTIFY_SOCKET": heard.address}
        env["JOURNAL_STREAM"] = stream
        try:
            # When it is started
            master = processes.start(command, env=env, cwd=Path("/"))
            # Then it is ready, with this role only
            assert heard.wait_for("READY", timeout=60)["STATUS"] == "1 of 1 role processes are running"
            assert [role["name"] for role in user.masters()[0]["roles"]] == ["queue-1"]
            # And a stop by systemd succeeds
            master.terminate()
            assert master.wait(30) == 0, processes.output(master)
            # And every line of its log has a priority for the journal, which knows the time
            log = processes.output(master).splitlines()
            assert [line for line in log if not re.match("<[2-7]>", line)] == []
            assert {"<6>master", "<6>queue-1"} <= {line.partition(" ")[0] for line in log}
        finally:
            processes.end_all()
