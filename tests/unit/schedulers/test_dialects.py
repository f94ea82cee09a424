"""What the schedulers answer, good and bad, and what that means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from qtoolkit.core.data_objects import QJob, QState, SubmissionResult
from qtoolkit.io.base import BaseSchedulerIO
from qtoolkit.io.pbs import PBSIO
from qtoolkit.io.sge import SGEIO
from qtoolkit.io.shell import ShellIO
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.errors import SchedulerError
from jfr_mp.hosts import CommandResult
from jfr_mp.schedulers.dialect import Dialect
from jfr_mp.schedulers.dialects import dialect_of
from jfr_mp.schedulers.pbs import Pbs
from jfr_mp.schedulers.sge import GridEngine
from jfr_mp.schedulers.slurm import Slurm

SLURM_HEADING = "JOBID<><> ST<><> REASON<><> NAME<><> USER<><> PART<><> LIMIT<><> NODES<><> CPUS<><> TIME<><> MEMORY"


def slurm_row(job_id: str, state: str) -> str:
    return "<><> ".join([job_id, state, "None", "relax-t", "me", "main", "1:00:00", "1", "1", "0:05", "0"])


def sge_job(job_id: str, state: str) -> str:
    fields = {"JB_job_number": job_id, "JAT_prio": "0.5", "JB_name": "relax-t", "JB_owner": "me", "state": state}
    return f"<job_list>{''.join(f'<{name}>{value}</{name}>' for name, value in fields.items())}</job_list>"


def sge_list(*jobs: str) -> str:
    return (
        f"<?xml version='1.0'?>\n<job_info><queue_info></queue_info><job_info>{''.join(jobs)}</job_info></job_info>\n"
    )


def pbs_block(job_id: str, state: str, *, complete: bool = True) -> str:
    fields = {"Job_Name": "relax-t", "Job_Owner": "me@host", "job_state": state, "queue": "q"}
    if complete:
        fields |= {"Resource_List.ncpus": "1", "Resource_List.nodect": "1"}
    return "\n".join([f"Job Id: {job_id}", *(f"    {name} = {value}" for name, value in fields.items()), "", ""])


def read(dialect: Dialect, stdout: str, stderr: str = "", code: int = 0) -> dict[str, str]:
    return {job.job_id: job.status.name for job in dialect.read_list(CommandResult(stdout, stderr, code))}


@pytest.mark.parametrize(
    ("io", "stdout", "expected"),
    [
        (
            SlurmIO(),
            "\n".join(
                ["News", SLURM_HEADING, slurm_row("1", "R"), slurm_row("2", "??"), "3<><> R", slurm_row("4", "TO")]
            ),
            {"1": "RUNNING", "2": "UNDETERMINED", "3": "UNDETERMINED", "4": "FAILED"},
        ),
        (
            SGEIO(),
            "News of the site\n" + sge_list(*map(sge_job, "123456", ("r", "Rr", "hRwq", "Eqw", "xyz", "tS"))),
            {"1": "RUNNING", "2": "RUNNING", "3": "QUEUED_HELD", "4": "FAILED", "5": "UNDETERMINED", "6": "SUSPENDED"},
        ),
        (
            PBSIO(),
            pbs_block("1.s", "R") + pbs_block("2.s", "Y") + pbs_block("3.s", "Q", complete=False) + "Job Id: 4.s\n  Jo",
            {"1.s": "RUNNING", "2.s": "UNDETERMINED", "3.s": "QUEUED", "4.s": "UNDETERMINED"},
        ),
    ],
    ids=["slurm", "sge", "pbs"],
)  # fmt: skip
def test_one_job_that_nobody_understands_hides_no_other(
    io: BaseSchedulerIO, stdout: str, expected: dict[str, str]
) -> None:
    assert read(dialect_of(io), stdout) == expected


@pytest.mark.parametrize(
    ("io", "result"),
    [
        (SlurmIO(), CommandResult(SLURM_HEADING, "", 0)),
        (SlurmIO(), CommandResult("", "slurm_load_jobs error: Invalid job id specified", 1)),
        (SGEIO(), CommandResult(sge_list(), "", 0)),
        (PBSIO(), CommandResult("", "", 0)),
        (ShellIO(), CommandResult("  PID USER", "", 1)),
    ],
)
def test_an_answer_without_jobs_is_one(io: BaseSchedulerIO, result: CommandResult) -> None:
    assert not list(dialect_of(io).read_list(result))


@pytest.mark.parametrize(
    ("io", "result"),
    [
        (SlurmIO(), CommandResult("", "", 0)),
        (SlurmIO(), CommandResult("what?", "", 0)),
        (SlurmIO(), CommandResult("", "slurm_load_jobs error: Unable to contact slurm controller", 1)),
        (SlurmIO(), CommandResult(f"{SLURM_HEADING}\n{slurm_row('1', 'R')}", "killed", -9)),
        (SGEIO(), CommandResult("", "", 0)),
        (SGEIO(), CommandResult(sge_list(sge_job("1", "r"))[:-30], "", 0)),
        (SGEIO(), CommandResult("", "error: commlib error: got select error (Connection refused)", 1)),
        (SGEIO(), CommandResult("<?xml version='1.0'?><other/>", "", 0)),
        (PBSIO(), CommandResult("", "qstat: cannot connect to server (errno=111)", 255)),
        (PBSIO(), CommandResult("what?", "", 0)),
        (ShellIO(), CommandResult("", "ps: command not found", 127)),
    ],
)
def test_what_is_no_answer_says_nothing_about_any_job(io: BaseSchedulerIO, result: CommandResult) -> None:
    with pytest.raises(SchedulerError, match=r"exit code"):
        list(dialect_of(io).read_list(result))


def test_pbs_denies_jobs_beside_those_that_it_lists() -> None:
    said = "qstat: Unknown Job Id 2.s\nqstat: 3.s Job has finished, use -x or -H to obtain historical job information"
    assert read(Pbs(PBSIO()), pbs_block("1.s", "R"), said, 153) == {"1.s": "RUNNING", "2.s": "DONE", "3.s": "DONE"}


@pytest.mark.parametrize(
    ("dialect", "text", "status", "said"),
    [
        (Slurm(SlurmIO()), "slurm_load_jobs error: Invalid job id specified", "DONE", "gone"),
        (Slurm(SlurmIO()), "JobId=1 JobName=a b JobState=TIMEOUT Reason=None WorkDir=/a b=c", "FAILED", "TIMEOUT"),
        (Slurm(SlurmIO()), "JobId=1 JobState=NEW_STATE", "UNDETERMINED", ""),
        (Slurm(SlurmIO()), "slurm_load_jobs error: Unable to contact slurm controller", "UNDETERMINED", ""),
        (GridEngine(SGEIO()), "Following jobs do not exist: \n1", "DONE", "gone"),
        (GridEngine(SGEIO()), "==========\njob_number:                 1", "UNDETERMINED", ""),
        (Pbs(PBSIO()), "qstat: Unknown Job Id 1.s", "DONE", "gone"),
        (Pbs(PBSIO()), pbs_block("1.s", "R"), "RUNNING", "R"),
        (Pbs(PBSIO()), "", "UNDETERMINED", ""),
    ],
)
def test_what_a_question_for_one_job_tells(dialect: Dialect, text: str, status: str, said: str) -> None:
    answer = dialect.read_show(text)
    assert (answer.name, answer.said) == (status, said)


@pytest.mark.parametrize("io", [SlurmIO(), PBSIO(), ShellIO()])
def test_no_command_is_too_long_for_a_command_line(io: BaseSchedulerIO) -> None:
    ids = [f"{number}.a-server-with-a-name" if isinstance(io, PBSIO) else str(number) for number in range(1, 30_001)]
    commands = list(dialect_of(io).list_commands(ids))
    assert max(len(" ".join(command)) for command in commands) < 20_000
    assert sum(" ".join(command).count(ids[-1]) for command in commands) == 1
    assert not list(dialect_of(io).list_commands([]) if not isinstance(io, PBSIO) else ())


def test_a_user_is_asked_for_instead_of_ids() -> None:
    def commands(io: BaseSchedulerIO, ids: Sequence[str], user: str | None) -> list[str]:
        return [" ".join(command) for command in dialect_of(io).list_commands(ids, user)]

    assert commands(SlurmIO(), ["1"], "me")[0].endswith("-u me --states=all")
    assert commands(SGEIO(), ["1"], "me") == ["qstat -ext -urg -xml -u me"]
    assert commands(SGEIO(), ["1"], None) == ["qstat -ext -urg -xml -u $user"]
    # PBS is asked for ids all the same, and for everybody's jobs where there are none
    assert commands(PBSIO(), ["1.s"], "me") == ["qstat -f -w 1.s"]
    assert commands(PBSIO(), [], "me") == ["qstat -f -w"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relax", "relax-t"),
        ("relax (1); touch x", "relax__1___touch_x-t"),
        ("$(id)\n#SBATCH -x", "job__id___SBATCH_-x-t"),
        ("1st", "job1st-t"),
        ("", "job-t"),
        ("é", "job_-t"),
        ("n" * 999, "n" * 200 + "-t"),
    ],
)
def test_a_name_is_one_for_every_scheduler(name: str, expected: str) -> None:
    assert dialect_of(SlurmIO()).job_name(name, "t") == expected


class Plugin(BaseSchedulerIO):
    """A scheduler of a user's own, of which nothing is known."""

    header_template = "#MY name $${job_name} $${qout_path} $${qerr_path}"
    SUBMIT_CMD = "cd /tmp && my-submit"
    CANCEL_CMD = "my-cancel"

    def parse_submit_output(self, exit_code: int, stdout: str | bytes, stderr: str | bytes) -> SubmissionResult:
        return SubmissionResult(job_id=str(stdout).split("=")[1].strip())

    def parse_jobs_list_output(self, exit_code: int, stdout: Any, stderr: Any, job_ids: Any = None) -> list[QJob]:
        if exit_code:
            raise RuntimeError("plugin trouble")
        running: Any = QState.RUNNING  # its base class is not annotated
        return [QJob(job_id=word, state=running, name="relax-t") for word in stdout.split()]

    def _get_jobs_list_cmd(self, job_ids: list[str] | None = None, user: str | None = None) -> str:
        return f"my-list {' '.join(job_ids or [user or ''])}"

    # The abstract methods that nothing here calls.
    parse_cancel_output: Any = parse_submit_output
    parse_job_output: Any = parse_submit_output
    _get_job_cmd: Any = parse_submit_output
    _convert_qresources: Any = parse_submit_output


def test_a_scheduler_of_the_users_own_answers_as_it_likes() -> None:
    dialect = dialect_of(Plugin())
    assert type(dialect) is Dialect
    assert dialect.submit_command() == ["/bin/sh", "-c", "cd /tmp && my-submit submit.sh"]
    assert (dialect.read_id("job=7\n"), dialect.read_id("rubbish")) == ("7", None)
    assert list(dialect.list_commands(["7", "8"])) == [["/bin/sh", "-c", "my-list 7 8"]]
    assert read(dialect, "7 8") == {"7": "RUNNING", "8": "RUNNING"}
    with pytest.raises(SchedulerError, match="plugin trouble"):
        read(dialect, "", "", 1)


def test_one_that_is_based_on_a_known_scheduler_speaks_like_it() -> None:
    class OurSlurm(SlurmIO):
        SUBMIT_CMD = "/opt/slurm/bin/sbatch --clusters=big"

    dialect = dialect_of(OurSlurm())
    assert isinstance(dialect, Slurm)
    assert dialect.submit_command() == ["/opt/slurm/bin/sbatch", "--clusters=big", "submit.sh"]
