"""A batch job is submitted once, with an sbatch of ours that does what real ones do on their bad days."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.errors import HostError, HostUnreachable, SchedulerError, SiteLimit
from jfr_mp.hosts import CommandResult
from jfr_mp.hosts.local import LocalHost
from jfr_mp.hosts.quoting import quote
from jfr_mp.schedulers import QueueManager
from jfr_mp.schedulers.submission import CLAIM_FILENAME, PROCESS_ID_FILENAME, adopt, once_lines
from tests.support.submissions import forget_submission
from tests.support.waiting import wait_until
from tests.unit.schedulers.test_dialects import SLURM_HEADING, Plugin

TOKEN = "0a1b2c3d"
#: A SchedulerError that lasts.
BAD = None
ACCEPT = "echo run >> ledger; echo Submitted batch job 12"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run $(touch x) 'dir' é"
    path.mkdir()
    return path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Call it with a name and the text of a script to have such a command; squeue knows no job else."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    def make(name: str, text: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)

    make("squeue", f"echo '{SLURM_HEADING}'")
    make("my-list", ":")
    return make


@pytest.fixture
def manager() -> QueueManager:
    return QueueManager(SlurmIO(), LocalHost(), timeout=2)


Command = Callable[[str, str], None]


def submissions(run_dir: Path) -> int:
    ledger = run_dir / "ledger"
    return len(ledger.read_text().split()) if ledger.exists() else 0


def leave_claim(run_dir: Path, holder: str, age: float = 0.0) -> Path:
    path = run_dir / CLAIM_FILENAME
    path.write_text(f"{holder}\n")
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return path


def test_it_leaves_the_id_and_nothing_else(manager: QueueManager, run_dir: Path, command: Command) -> None:
    # Given a site whose sbatch has more to say than the id
    command("sbatch", f"echo Welcome; {ACCEPT} on cluster big; echo Goodbye; echo a warning >&2")
    # When a job is submitted twice
    assert [manager.submit("true\n", run_dir, TOKEN) for _ in range(2)] == ["12", "12"]
    # Then the scheduler has heard once of it
    assert submissions(run_dir) == 1
    assert (run_dir / PROCESS_ID_FILENAME).read_text() == "12\n"
    assert sorted(path.name for path in run_dir.iterdir()) == [PROCESS_ID_FILENAME, "ledger", "submit.sh"]
    assert (run_dir / "submit.sh").read_text() == "true\n"
    # Until it is forgotten
    forget_submission(manager.host, run_dir)
    manager.submit("true\n", run_dir, TOKEN)
    assert submissions(run_dir) == 2


@pytest.mark.parametrize(
    ("sbatch", "error", "message"),
    [
        ("echo 'sbatch: error: invalid account' >&2; exit 1", BAD, "sbatch: invalid account"),
        ("echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1", SiteLimit, "AssocMaxSubmitJobLimit"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", HostUnreachable, "Unable to contact"),
        ("exit 3", SchedulerError, "exit code 3 without a message"),
        ("echo rubbish", SchedulerError, "the command printed no job id, but 'rubbish'"),
        ("sleep 60", HostUnreachable, "the command did not finish within 2 s"),
        ("exit 127", BAD, "there is no such command"),
    ],
)
def test_a_refusal_is_whose_fault_it_is(
    run_dir: Path, command: Command, sbatch: str, error: type[HostError] | None, message: str
) -> None:
    # When the scheduler does not take a job
    manager = QueueManager(SlurmIO(), LocalHost(), timeout=2)
    command("sbatch", sbatch)
    with pytest.raises(error or SchedulerError, match=message) as caught:
        manager.submit("true\n", run_dir, TOKEN)
    # Then one line says why, and whether it is in vain to try again
    assert caught.value.permanent is (error is BAD)
    assert "\n" not in str(caught.value)
    # And a claim is left where the scheduler may have the job all the same
    assert (run_dir / CLAIM_FILENAME).exists() is (error not in (BAD, SiteLimit))
    # And when it takes the job, it has it
    command("sbatch", ACCEPT)
    assert manager.submit("true\n", run_dir, TOKEN) == "12"
    assert not (run_dir / CLAIM_FILENAME).exists()


def test_a_job_of_which_only_the_scheduler_knows_is_adopted(
    manager: QueueManager, run_dir: Path, command: Command
) -> None:
    # Given a claim of a process that died, and a queue with its job, whose state nobody knows, and others
    row = "{}<><> {}<><> None<><> {}<><> me<><> main<><> 1:00<><> 1<><> 1<><> 0:05<><> 0"
    rows = [row.format(*job) for job in (("11", "R", "other-t"), ("12", "??", f"relax-{TOKEN}"), ("13", "R", "relax"))]
    command("squeue", "cat <<'END'\n" + "\n".join([SLURM_HEADING, *rows]) + "\nEND")
    command("sbatch", ACCEPT)
    leave_claim(run_dir, f"{os.uname().nodename} 4194304 4194304")
    # When the next attempt comes, then it takes that job
    assert manager.submit("true\n", run_dir, TOKEN) == "12"
    assert submissions(run_dir) == 0
    assert (run_dir / PROCESS_ID_FILENAME).read_text() == "12\n"


def test_a_script_of_which_only_a_part_came_is_not_submitted(run_dir: Path, command: Command) -> None:
    # Given a connection that ends on the way
    class HalfHost(LocalHost):
        def run(self, argv: Sequence[str], *, stdin: str | None = None, **options: Any) -> CommandResult:
            return super().run(argv, stdin=stdin and stdin[:2], **options)

    command("sbatch", ACCEPT)
    with pytest.raises(SchedulerError, match="truncated script"):
        QueueManager(SlurmIO(), HalfHost()).submit("true\n", run_dir, TOKEN)
    assert submissions(run_dir) == 0


@pytest.mark.parametrize("squeue", ["exit 1", ":", "echo rubbish", "echo 'cannot contact' >&2; exit 1"])
def test_nothing_is_submitted_again_while_the_scheduler_says_nothing(
    manager: QueueManager, run_dir: Path, command: Command, squeue: str
) -> None:
    command("squeue", squeue)
    command("sbatch", ACCEPT)
    leave_claim(run_dir, f"{os.uname().nodename} 4194304 4194304")
    with pytest.raises(HostUnreachable, match="left no id; the job waits until the scheduler answers"):
        manager.submit("true\n", run_dir, TOKEN)
    assert submissions(run_dir) == 0


def test_a_claim_of_another_login_node_counts_until_it_is_old(
    manager: QueueManager, run_dir: Path, command: Command
) -> None:
    command("sbatch", ACCEPT)
    leave_claim(run_dir, "login2 1 1")
    with pytest.raises(SchedulerError, match="may still be in progress"):
        manager.submit("true\n", run_dir, TOKEN)
    leave_claim(run_dir, "login2 1 1", age=20)
    assert manager.submit("true\n", run_dir, TOKEN) == "12"


def test_an_attempt_that_is_at_it_is_waited_for(run_dir: Path, command: Command) -> None:
    # Given a process of this machine that holds the claim
    manager = QueueManager(SlurmIO(), LocalHost(), timeout=60)
    command("sbatch", ACCEPT)
    holder = subprocess.Popen(["sleep", "100"], start_new_session=True)
    try:
        leave_claim(run_dir, f"{os.uname().nodename} {holder.pid} {holder.pid}")
        # When it does not end, then nothing is submitted
        with pytest.raises(SchedulerError, match="may still be in progress"):
            manager.submit("true\n", run_dir, TOKEN)
        assert submissions(run_dir) == 0
    finally:
        holder.kill()
        holder.wait()
    # And when it has, then the job is
    assert manager.submit("true\n", run_dir, TOKEN) == "12"
    assert submissions(run_dir) == 1


def test_where_a_job_cannot_tell_its_id_what_is_not_known_is_shown(run_dir: Path, command: Command) -> None:
    # Given a scheduler that nobody knows, and an attempt that died
    manager = QueueManager(Plugin(), LocalHost(), timeout=2)
    command("my-submit", "echo job=7")
    claim = leave_claim(run_dir, f"{os.uname().nodename} 4194304 4194304")
    # When the next one comes, then it says what to do
    with pytest.raises(
        SchedulerError, match=rf"name ends in {TOKEN}: the job may have run\. If it has not, remove"
    ) as caught:
        manager.submit("true\n", run_dir, TOKEN)
    assert caught.value.permanent
    # And when that is done, the job is submitted
    claim.unlink()
    assert manager.submit("true\n", run_dir, TOKEN) == "7"
    assert (run_dir / PROCESS_ID_FILENAME).read_text() == "job=7\n"


def test_a_directory_that_cannot_be_written_is_an_error_with_its_reason(manager: QueueManager) -> None:
    with pytest.raises(SchedulerError, match="the job in /proc/self could not be submitted: ") as caught:
        manager.submit("true\n", "/proc/self", TOKEN)
    assert len(str(caught.value).splitlines()) == 1


class TestOnce:
    """The lines by which a job finds out that it is not the one."""

    def run(self, run_dir: Path, own_id: str, token: str = TOKEN) -> bool:
        """Run a job under an id, and tell whether it did its work."""
        script = "\n".join(
            ["set -e", *once_lines(str(run_dir), token, "MY_ID"), f"touch {quote([run_dir.parent / 'ran'])}"]
        )
        done = subprocess.run(
            ["bash", "-c", script], env={**os.environ, "MY_ID": own_id}, capture_output=True, text=True, check=True
        )
        ran = (run_dir.parent / "ran").exists()
        (run_dir.parent / "ran").unlink(missing_ok=True)
        assert ("it has already run" in done.stderr) is not ran
        return ran

    def test_the_job_whose_id_is_there_runs(self, run_dir: Path) -> None:
        adopt(LocalHost(), run_dir, "12.server")
        assert [self.run(run_dir, own) for own in ("12.server", "12", "13.server", "1")] == [True, True, False, False]

    def test_the_first_one_leaves_its_id_where_there_is_none(self, run_dir: Path) -> None:
        (run_dir / "submit.sh").write_text(f"... {TOKEN} ...")
        assert [self.run(run_dir, own) for own in ("12", "13", "12")] == [True, False, True]
        assert (run_dir / PROCESS_ID_FILENAME).read_text() == "12\n"
        assert sorted(path.name for path in run_dir.iterdir()) == [PROCESS_ID_FILENAME, "submit.sh"]

    def test_a_job_of_an_earlier_submission_does_not_run_in_a_new_one(self, run_dir: Path) -> None:
        (run_dir / "submit.sh").write_text("... 4e5f6a7b ...")
        assert not self.run(run_dir, "12")
        assert not (run_dir / PROCESS_ID_FILENAME).exists()

    def test_a_job_that_has_run_does_not_run_again(self, run_dir: Path) -> None:
        # Given a job whose node died in the middle: it runs again
        adopt(LocalHost(), run_dir, "12")
        output = run_dir / "jfremote_out.json"
        output.write_text('{"start_time": 1}')
        assert self.run(run_dir, "12")
        # Given a scheduler that forgot in a crash that it ran the job: it does not
        output.write_text('{"start_time": 1, "end_time": 2}')
        assert not self.run(run_dir, "12")
        # Given an output that an earlier submission left there: it does
        os.utime(output, (1, 1))
        assert self.run(run_dir, "12")

    def test_without_an_id_every_job_runs(self, run_dir: Path) -> None:
        adopt(LocalHost(), run_dir, "12")
        assert self.run(run_dir, "")

    def test_two_at_once_are_one(self, run_dir: Path) -> None:
        (run_dir / "submit.sh").write_text(TOKEN)
        script = "\n".join([*once_lines(str(run_dir), TOKEN, "MY_ID"), f"echo run >> {quote([run_dir / 'ledger'])}"])
        jobs = [
            subprocess.Popen(
                ["bash", "-c", script], env={**os.environ, "MY_ID": str(number)}, stderr=subprocess.DEVNULL
            )
            for number in range(1, 9)
        ]
        wait_until(lambda: all(job.poll() is not None for job in jobs), 30, "their end")
        assert submissions(run_dir) == 1
