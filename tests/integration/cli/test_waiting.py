"""What waiting shows: on a terminal, as lines, and after Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jobflow import Flow

from jfr_mp import JobController, submit_flow
from jfr_mp.api.progress import WaitLook
from jfr_mp.api.waiting import Wait
from jfr_mp.errors import ExitCode, WaitTimeout
from jfr_mp.states import JobState
from tests.support.jobs import add, chain
from tests.support.processes import JFR_MP
from tests.support.projects import ProjectFactory, TestProject
from tests.support.terminal import Terminal

_WAIT = "from jfr_mp import wait_for; print({state.name for state in wait_for(%r).values()})"


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def terminal(project: TestProject, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Open a terminal that runs a command."""
    opened: list[Terminal] = []

    def run(*argv: str) -> Terminal:
        opened.append(Terminal(tmp_path / f"tmux{len(opened)}", argv, env=project.env))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


def become(project: TestProject, db_id: str, state: str, error: str | None = None, name: str = "link") -> None:
    project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": state, "error": error, "job.name": name}})


def text(screen: list[str]) -> str:
    return "\n".join(screen)


def test_a_terminal_shows_the_progress_live(project: TestProject, terminal: Callable[..., Terminal]) -> None:
    # Given a wait for a flow of three jobs on a terminal
    db_ids = submit_flow(chain(3))
    shown = terminal(JFR_MP, "flow", "wait", db_ids[0])
    shown.shows("0 of 3 jobs ended, waiting for 0:00:0", "2 WAITING, 1 READY")

    # When jobs end, it follows them in place, and names those that failed as plain text
    become(project, db_ids[0], "COMPLETED")
    become(project, db_ids[1], "RUNNING")
    shown.shows("1 of 3 jobs ended", "1 WAITING, 1 RUNNING, 1 COMPLETED")
    become(project, db_ids[1], "FAILED", "Traceback\n[bold]no luck[/bold]\x1b[2J", name="[red]x[/red]")
    screen = shown.shows(f"see `jfr-mp job explain {db_ids[2]}`", "1 COMPLETED, 1 FAILED, 1 WAITING")

    # Then the result replaces it
    assert "1 COMPLETED, 1 FAILED, 1 WAITING" in screen
    assert f"Job {db_ids[1]} ([red]x[/red]): FAILED" in text(screen)
    assert "jobs ended" not in text(screen)


def test_a_failed_job_is_named_while_others_run(project: TestProject, terminal: Callable[..., Terminal]) -> None:
    db_ids = submit_flow(chain(2))
    become(project, db_ids[0], "REMOTE_ERROR", "Traceback\n[bold]no luck[/bold]\x1b[2J", name="[red]x[/red]")
    become(project, db_ids[1], "RUNNING")
    shown = terminal(JFR_MP, "job", "wait", *db_ids)
    shown.shows(f"Job {db_ids[0]} ([red]x[/red]): REMOTE_ERROR [bold]no luck[/bold]\N{REPLACEMENT CHARACTER}[2J")


@pytest.mark.parametrize("flows", [True, False], ids=["flow", "jobs"])
def test_a_wait_counts_jobs_and_reads_none_of_them_before_they_end(project: TestProject, flows: bool) -> None:
    # Given a wait for a flow of some jobs
    db_ids = submit_flow(Flow([add(1, number) for number in range(40)]))
    with closing(JobController.from_project_name()) as controller:
        wait = Wait(controller.db, db_ids, flows=flows)
        # When it has looked at them several times, while the server counts what it returns
        looks: list[WaitLook] = []
        project.db.command("profile", 2)
        with pytest.raises(WaitTimeout, match="40 READY after"):
            wait.until_done(0.5, looks.append)
        project.db.command("profile", 0)
        # Then it has got the numbers only, few for each look
        profiled = list(project.db["system.profile"].find({"ns": f"{project.db.name}.jobs"}))
        assert len(looks) >= 2
        assert {frozenset(look.counts.items()) for look in looks} == {frozenset({(JobState.READY, 40)})}
        assert profiled
        assert sum(each.get("nreturned", 0) for each in profiled) <= 3 * len(looks)
        # And it reads them at the end
        project.db.jobs.update_many({}, {"$set": {"state": "COMPLETED"}})
        assert {job.db_id for job in wait.until_done(10)} == set(db_ids)


@pytest.mark.parametrize("in_python", [False, True], ids=["command", "python"])
def test_ctrl_c_leaves_the_terminal_clean_and_the_jobs_alone(
    in_python: bool, project: TestProject, terminal: Callable[..., Terminal]
) -> None:
    # Given a shell on a terminal, in which something is waited for
    (db_id,) = submit_flow(chain(1))
    shown = terminal("bash", "--norc")
    argv = [sys.executable, "-c", _WAIT % [db_id]] if in_python else [JFR_MP, "job", "wait", db_id]
    shown.press(shlex.join(argv), "Enter")
    shown.shows("0 of 1 job ended")
    assert shown.cursor_is_hidden()

    # When the user interrupts it
    shown.press("C-c")

    # Then it says that the jobs are not affected, and the shell is as before
    shown.shows("Stopped waiting; the jobs are not affected.", f"Wait again with `jfr-mp job wait {db_id}`.")
    shown.press("stty -a | grep -o -w -- '-\\?echo'; echo code $?", "Enter")
    screen = text(shown.shows("code 0"))
    assert "\necho\n" in screen
    assert not shown.cursor_is_hidden()
    assert project.db.jobs.distinct("state") == ["READY"]


def test_lines_are_sparse_without_a_terminal(project: TestProject) -> None:
    # Given a wait whose output is no terminal
    db_ids = submit_flow(chain(3))
    wait = subprocess.Popen(
        [sys.executable, "-uc", _WAIT % db_ids], env=project.env, stdout=-1, stderr=-1, text=True, bufsize=1
    )
    assert wait.stderr is not None
    assert wait.stderr.readline() == "0 of 3 jobs ended, waiting for 0:00:00; 2 WAITING, 1 READY\n"

    # When many states change at once, then it prints the last one only
    for number, db_id in enumerate(db_ids):
        become(project, db_id, "RUNNING")
        become(project, db_id, "FAILED" if number else "COMPLETED", "a\nValueError: no\x1b luck")
    out, err = wait.communicate(timeout=30)
    (line,) = err.splitlines()
    assert line.startswith("3 of 3 jobs ended, waiting for 0:00:0")
    assert line.endswith(
        f"; 1 COMPLETED, 2 FAILED; Job {db_ids[2]} (link): FAILED: ValueError: no\N{REPLACEMENT CHARACTER} luck"
    )
    assert out in ("{'COMPLETED', 'FAILED'}\n", "{'FAILED', 'COMPLETED'}\n")


def test_an_interrupt_without_a_terminal_says_so_too(project: TestProject) -> None:
    (db_id,) = submit_flow(chain(1))
    wait = subprocess.Popen([JFR_MP, "flow", "wait", db_id, "--json"], env=project.env, stdout=-1, stderr=-1, text=True)
    assert wait.stderr is not None
    assert wait.stderr.readline().startswith("0 of 1 job ended")
    os.kill(wait.pid, signal.SIGINT)
    out, err = wait.communicate(timeout=30)
    assert (out, wait.returncode) == ("", ExitCode.INTERRUPTED)
    assert err == f"Stopped waiting; the jobs are not affected. Wait again with `jfr-mp flow wait {db_id}`.\n"
    assert project.db.jobs.distinct("state") == ["READY"]
