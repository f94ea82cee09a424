"""Large inputs and outputs, and a login node that dies in the middle of them."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from jobflow import Flow, OutputReference

from jfr_mp import submit_flow
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME
from tests.acceptance.conftest import NewUser
from tests.support.jobs import total
from tests.support.sshd import Sshd, running
from tests.support.user import User, summary
from tests.support.waiting import wait_until

JOBS = 20
#: Bytes of each input and each output; a document of MongoDB has no room for that many, so the input is in parts.
SIZE, PARTS = 50_000_000, 5
DATA = "remote_job_data.json"

#: Leaves a large output, and nobody reads it: the jobs are not completed.
_COMMAND = f"""#!/bin/sh
cd "$1" || exit
head -c {SIZE} /dev/urandom > {DATA}
echo '{{}}' > {OUT_FILENAME}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory whose gigabytes pytest does not keep."""
    directory = tmp_path / "large"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(Sshd(tmp_path / "sshd"))


@pytest.fixture
def user(new_user: NewUser, sshd: Sshd, directory: Path) -> User:
    """Somebody whose worker is that server."""
    command = directory / "command"
    command.write_text(_COMMAND)
    command.chmod(0o755)
    far = sshd.worker(directory / "far", execution_cmd=f"{command} {{}}", login_shell=False)
    return new_user(workers={"far": far}, tmp_dir=str(directory / "here"))


def strike(sshd: Sshd, directory: Path, name: str) -> bool:
    """Let the server die with all connections when a file is half way; tell whether the file was cut off by that."""
    begun = time.time()

    def half_way() -> Path | None:
        for path in directory.rglob(f".{name}.part"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                if SIZE / 5 < stat.st_size < SIZE and stat.st_mtime > begun:
                    return path
        return None

    part = wait_until(half_way, 120, f"a {name} that is half way")
    assert part is not None
    sshd.kill()
    # Whoever writes it may have removed the part by now, but without a server nobody can end it
    cut_off = not part.with_name(name).exists()
    sshd.start()
    return cut_off


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.timeout(400)
def test_a_login_node_dies_in_the_middle_of_large_transfers(user: User, sshd: Sshd, directory: Path) -> None:
    # Given jobs with large inputs and outputs
    jobs = user.project.db.jobs
    parts = {f"part-{number}": secrets.token_hex(SIZE // PARTS // 2) for number in range(PARTS)}
    user.project.db.outputs.insert_many(
        [{"uuid": uuid, "index": 1, "output": part, "metadata": {}} for uuid, part in parts.items()]
    )
    inputs = [OutputReference(uuid) for uuid in parts]
    submit_flow(Flow([total(inputs) for _ in range(JOBS)]), worker="far", allow_external_references=True)
    user.start("--checkout", "--transfer", "--queue", "--num-transfer", "2")

    # When the server dies with all connections, in the middle of an upload, and again in that of a download
    wait_until(lambda: strike(sshd, directory / "far", IN_FILENAME), 120, "an upload that breaks")
    wait_until(lambda: strike(sshd, directory / "here", DATA), 120, "a download that breaks")

    # Then all jobs get there, at the first attempt
    wait_until(lambda: not jobs.find_one({"state": {"$nin": ["DOWNLOADED", "REMOTE_ERROR"]}}), 200, "all downloads")
    assert not summary(jobs.find({"$or": [{"state": {"$ne": "DOWNLOADED"}}, {"remote.step_attempts": {"$ne": 0}}]}))
    user.ok("stop")

    # And all bytes of their inputs and outputs did
    for job in jobs.find():
        run_dir = Path(job["run_dir"])
        uploaded = orjson.loads((run_dir / IN_FILENAME).read_bytes())["job"]
        assert uploaded["function_args"] == [list(parts.values())]
        (downloaded,) = (directory / "here").rglob(f"{run_dir.name}/{DATA}")
        assert digest(downloaded) == digest(run_dir / DATA)

    # And no half file is left on either side
    assert not list(directory.rglob(".*.part"))
