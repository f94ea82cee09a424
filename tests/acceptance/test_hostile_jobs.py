"""Jobs that leave traps in the place of their files: each fails with one clear text; the jobs beside them complete."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.conftest import NewUser
from tests.support.processes import is_alive
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(200)

OUT, DATA = "jfremote_out.json", "remote_job_data.json"
#: What the script of a job does after the job, and what the user reads then.
ATTACKS = {
    "fifo": (f"rm {OUT}; mkfifo {OUT}", f"{OUT} in .* it is a FIFO"),
    "zero": (f"ln -sf /dev/zero {OUT}", f"{OUT} in .* it is a symbolic link"),
    "long-link": (f"ln -sf $(printf x%.0s $(seq 300)) {OUT}", f"{OUT} in .* it is a symbolic link"),
    "data-fifo": (f"rm {DATA}; mkfifo {DATA}", f"{DATA} in .* it is a FIFO"),
    "data-zero": (f"ln -sf /dev/zero {DATA}", f"{DATA} in .* it is a symbolic link"),
    "sparse": (f"truncate -s 10G {OUT}", f"{OUT} in .* has 10240 MB"),
    "data-sparse": (f"truncate -s 10G {DATA}", f"{DATA} in .* has 10240 MB"),
    "nested": (f"cp ../../../../../nested {OUT}", "nested more than 100 levels"),
    "texts": (f"rm queue.err; mkfifo queue.err; echo '{{}}' >{OUT}", "not how it ended"),
    "foreign": (f"""sed -i 's/"uuid":"[0-9a-f]/"uuid":"x/' {DATA}""", "contains a document of job"),
}


@pytest.fixture
def hostile(new_user: NewUser, tmp_path: Path) -> User:
    """A user whose jobs can run any of the attacks after their end."""
    levels = 500
    (tmp_path / "work" / "nested").parent.mkdir(exist_ok=True)
    (tmp_path / "work" / "nested").write_text('{"response": ' + "[" * levels + "]" * levels + "}")
    configs = {name: {"post_run": attack} for name, (attack, _) in ATTACKS.items()}
    configs["planted"] = {"post_run": "ln -s /etc/passwd stolen"}
    return new_user(exec_config=configs, runner={"delay_check_run_status": 2})


def test_hostile_outputs_beside_good_jobs(hostile: User) -> None:
    # Given fifty good jobs, one for each attack before them, and jobs that attack those who look at them
    hostile.ok("start")
    setup = (
        f"bad = [(name, add(1, 1)) for name in {list(ATTACKS)}]\n"
        "for name, one in bad: one.update_config({'manager_config': {'exec_config': name}})\n"
        "link, screen = add(2, 2), raises(chr(27) + ']0;owned' + chr(7) + chr(0x202E))\n"
        "link.update_config({'manager_config': {'exec_config': 'planted'}})\n"
        "screen.name = chr(27) + '[2Jevil'\n"
        f"leaves = leaves_processes({str(hostile.desk / 'left')!r})"
    )
    others = "Flow([*(one for _, one in bad), link, screen, leaves, *(add(n, 1) for n in range(50))])"
    flow = hostile.submit(others, setup=setup)
    attacks, rest = dict(zip(ATTACKS, flow.db_ids, strict=False)), flow.db_ids[len(ATTACKS) :]
    (link, screen, leaves), good = rest[:3], rest[3:]
    # When they have run, then the good ones are COMPLETED
    completed = {"db_id": {"$in": good}, "state": "COMPLETED"}
    wait_until(lambda: hostile.project.db.jobs.count_documents(completed) == 50, 90, "the good jobs")
    # And each attack is one failure that says what is wrong
    jobs = hostile.project.db.jobs
    for name, (_, says) in ATTACKS.items():
        ended = {"db_id": attacks[name], "state": {"$in": ["FAILED", "REMOTE_ERROR"]}, "lock_id": None}
        wait_until(partial(jobs.find_one, ended), 60, f"the end of {name}")
        job = jobs.find_one(ended)
        assert job is not None
        error = job["error"] or job["remote"]["error"]
        assert re.search(says, error), error
        assert "Traceback" not in error

    # And what a job has planted is neither followed, nor shown, nor left
    ended = {"db_id": {"$in": [link, screen, leaves]}, "state": {"$in": ["COMPLETED", "FAILED"]}, "lock_id": None}
    wait_until(lambda: jobs.count_documents(ended) == 3, 60, "the other attacks")
    hostile.types("job", "files", "get", link)
    assert not [path for path in hostile.desk.rglob("stolen") if path.exists()]
    for looks in (["job", "list"], ["job", "info", screen], ["job", "explain", screen], ["logs", "-n", "1000"]):
        done = hostile.types(*looks)
        assert "evil" in done.stdout or looks[0] == "logs"
        assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr)
    pids = [int((hostile.desk / "left" / name).read_text()) for name in ("child", "session", "orphan")]
    wait_until(lambda: not any(map(is_alive, pids)), 30, "the end of what a job left")
    assert hostile.json("admin", "check")["findings"] == []
