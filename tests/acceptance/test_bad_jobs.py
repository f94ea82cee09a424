"""Bad submissions and bad jobs: refused with nothing inserted, or FAILED with a text that says why; others go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.support.user import Submitted, User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

FAILED, REMOTE_ERROR = "FAILED", "REMOTE_ERROR"


# Submissions


def counts(user: User) -> dict[str, int]:
    """Return how many documents the queue has."""
    return {name: user.project.db[name].count_documents({}) for name in ("jobs", "flows")}


@pytest.mark.parametrize(
    ("options", "setup", "says"),
    [
        (["--worker", "lokal"], "", ["lokal", "local"]),
        (["--exec-config", "greting"], "", ["greting", "greeting"]),
        (["--jobstore", "archives"], "", ["archives", "archive"]),
        ([], "a.update_config({'manager_config': {'worker': 'cluster'}})", ["add", "cluster", "local"]),
        ([], "a.update_config({'manager_config': {'exec_config': 'vasp'}})", ["add", "vasp", "greeting"]),
    ],
    ids=["worker", "exec_config", "jobstore", "worker of a job", "exec_config of a job"],
)
def test_unknown_names_at_submission(busy: User, options: list[str], setup: str, says: list[str]) -> None:
    # Given a flow of two jobs, one of which is fine
    file = busy.flow_file("Flow([add(1, 1), a])", setup=f"a = add(2, 2)\n{setup}")
    before = counts(busy)

    # When it is submitted with a name that the project does not have
    message = busy.refused("submit", str(file), *options, code=ExitCode.CONFIG)

    # Then the name and the known ones are told, and nothing was inserted
    assert all(word in message for word in says), message
    assert counts(busy) == before


def test_the_same_flow_twice(busy: User) -> None:
    # Given a flow whose uuids are the same at every import, submitted once
    fixed = (
        "flow_, = [chain(2)]\n"
        "for n, item in enumerate(flow_.jobs): item.set_uuid(f'94b1b62a-7d05-4682-b9fc-393fea5c95c{n}')\n"
    )
    file = busy.flow_file("flow_", setup=f"{fixed}flow_.uuid = 'fixed-flow'")
    busy.ok("submit", str(file))
    before = counts(busy)

    # When it is submitted again
    message = busy.refused("submit", str(file), code=ExitCode.ERROR)

    # Then that is said, and nothing was inserted
    assert "already submitted" in message
    assert counts(busy) == before


def test_an_input_over_the_limit_of_mongodb(busy: User) -> None:
    before = counts(busy)
    message = busy.refused("submit", str(busy.flow_file("add('x' * 20_000_000)")), code=ExitCode.ERROR)
    assert "16 MB" in message
    assert counts(busy) == before


# Jobs


@dataclass(frozen=True)
class Bad:
    """A job that goes wrong: where it ends, and what has to be read on it."""

    expression: str
    state: str
    says: tuple[str, ...]
    options: tuple[str, ...] = ()


BAD = {
    "raises": Bad("raises('no such basis set')", FAILED, ("Traceback", "RuntimeError: no such basis set")),
    "is killed": Bad("kills_itself()", FAILED, ("killed",)),
    "writes no output": Bad("exits_silently()", FAILED, ("killed",)),
    "returns 20 MB": Bad("returns_megabytes(20)", REMOTE_ERROR, ("16 MB",)),
    "stores 20 MB": Bad("stores_megabytes(20)", REMOTE_ERROR, ("16 MB",)),
    "has a work_dir that cannot be made": Bad(
        "add(1, 1)", REMOTE_ERROR, ("a file", "work"), options=("--worker", "readonly")
    ),
}


@pytest.fixture(scope="module")
def submitted(busy: User) -> dict[str, Submitted]:
    """All of them, side by side, and a good one after them."""
    flows = {name: busy.submit(bad.expression, *bad.options) for name, bad in BAD.items()}
    return {**flows, "good": busy.submit("add(1, 1)")}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_job_says_what_is_wrong(busy: User, submitted: dict[str, Submitted], name: str) -> None:
    # When a job goes wrong
    bad, flow = BAD[name], submitted[name]
    flow.wait_for_job(bad.state, timeout=90)

    # Then its state says so, and `job info` says why
    assert flow.flow["state"] == ("FAILED" if bad.state == FAILED else "RUNNING")
    shown = busy.json("job", "info", flow.db_ids[0])
    error = shown["error"] or shown["remote"]["error"]
    assert all(word in error for word in bad.says), error


def test_other_jobs_go_on(submitted: dict[str, Submitted]) -> None:
    assert submitted["good"].wait_for("COMPLETED").outputs == [2]


def test_a_function_that_the_worker_cannot_import(busy: User, tmp_path: Path) -> None:
    # Given a function in a file that only its author can import
    file = tmp_path / "home_made.py"
    file.write_text(
        "from jobflow import Flow, job\n\n@job\ndef relax(x):\n    return x\n\nflow = Flow([relax(1)], name='f')\n"
    )

    # When its author submits it from Python, which does not know where the worker could find the file
    code = f"import home_made, jfr_mp; jfr_mp.submit_flow(home_made.flow, project={busy.project.name!r})"
    environment = {**busy.project.env, "PYTHONPATH": f"{tmp_path}:{busy.project.env.get('PYTHONPATH', '')}"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)

    # Then the job fails with the name of the function
    job = busy.project.db.jobs.find_one({"job.name": "relax"})
    assert job is not None
    flow = Submitted(busy.project, (job["db_id"],))
    error = flow.wait_for_job(FAILED)["error"]
    assert "home_made" in error
    assert "relax" in error


def test_a_job_whose_whole_process_group_is_killed(busy: User, tmp_path: Path) -> None:
    # Given a job that runs
    flow = busy.submit(f"waits_for({str(tmp_path / 'never')!r}, 1, {str(tmp_path / 'ledger')!r})")
    job = flow.wait_for_job("RUNNING")
    wait_until((tmp_path / "ledger").exists, 30, "the job's own beginning")

    # When everything of it is killed, so that nothing of it can tell
    os.killpg(int(job["remote"]["process_id"]), signal.SIGKILL)

    # Then that is found out
    assert "killed" in flow.wait_for_job(FAILED)["error"]


NAMES = [
    "relax (1); touch x",
    'it\'s "quoted" `touch x`',
    "$(touch x) ${HOME} && touch x",
    "two\nlines; touch x\n",
    "-n --help | touch x",
    "[red] {} %s \\",
]


def test_a_name_is_a_name_and_nothing_else_happens(busy: User) -> None:
    # Given jobs whose names a shell would act on
    jobs = ", ".join(f"named({name!r})" for name in NAMES)
    flow = busy.submit(f"Flow([{jobs}])", setup="def named(name): a = add(1, 1); a.name = name; return a")

    # When they have run
    flow.wait_for("COMPLETED")

    # Then they have these names, and nothing else happened
    assert [job["job"]["name"] for job in flow.jobs] == NAMES
    listed = {job["name"] for job in busy.json("job", "list", "--flow-id", flow.db_ids[0])}
    assert listed == set(NAMES)
    busy.ok("job", "list", "--flow-id", flow.db_ids[0])
    everything = busy.project.project_file.parent.parent
    assert list(everything.rglob("x")) == []

    # And the script of the first prints its very name
    assert NAMES[0] in Path(flow.job()["run_dir"], "queue.out").read_text()
