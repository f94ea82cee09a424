"""What a job says while its host, its work_dir or its worker command is in trouble, and that it goes on afterwards."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import Runner, submit_flow
from tests.support import jobs
from tests.support.projects import ProjectFactory
from tests.support.sshd import Agent, Sshd, make_key, running, silent_server
from tests.support.waiting import wait_until


class Site:
    """A worker `far` on a server, a runner, and one job for it.

    Parameters
    ----------
    server
        The server.
    make_project
        Makes the project.
    directory
        For the files of this test.
    """

    def __init__(self, server: Sshd, make_project: ProjectFactory, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.work_dir = directory / 'it\'s "far" é'
        #: What lives until the end of the test.
        self.living = ExitStack()
        self._fields: dict[str, Any] = {"timeout_execute": 60}
        self.project = make_project(workers=self._workers())
        self.runner = Runner()
        submit_flow(jobs.add(1), worker="far")

    def correct(self, **fields: Any) -> None:
        """Change the worker in the project file, and start the runner anew."""
        self._fields |= fields
        self.project.rewrite(workers={**self.project.document["workers"], **self._workers()})
        self.runner.cleanup()
        self.runner = Runner()

    def upload(self) -> dict[str, Any]:
        """Try to upload the job, and return it."""
        self.runner.checkout()
        self.runner.advance_state(["CHECKED_OUT"])
        return self.job

    def run(self) -> None:
        """Run the job to its end, and leave its files where they are."""
        self.upload()
        self.runner.advance_state(["UPLOADED"])

        def ended() -> bool:
            self.runner.check_run_status()
            return bool(self.job["state"] == "RUN_FINISHED")

        wait_until(ended, 60, "the end of the job")

    @property
    def job(self) -> dict[str, Any]:
        job = self.project.db.jobs.find_one()
        assert job is not None
        return job

    def _workers(self) -> dict[str, Any]:
        return {"far": self.server.worker(self.work_dir, **self._fields)}


@pytest.fixture
def site(
    own_sshd: Sshd, fresh_project: ProjectFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    site = Site(own_sshd, fresh_project, tmp_path)
    with site.living:
        yield site
        site.runner.cleanup()


#: Makes a trouble, yields what the job has to say, and removes the cause.
Trouble = Callable[[Site], Iterator[str]]


def unknown_host(site: Site) -> Iterator[str]:
    site.correct(host="no-such-host.invalid")
    yield "no-such-host.invalid:.* there is no host of that name"
    site.correct(host=site.server.host)


def refused_port(site: Site) -> Iterator[str]:
    site.server.stop()
    yield "Connection refused"
    site.server.start()


def host_that_says_nothing(site: Site) -> Iterator[str]:
    with silent_server() as port:
        site.correct(port=port, connect_timeout=1)
        yield f":{port}: it accepts the connection and then says nothing for 1 s"
    site.correct(port=site.server.port, connect_timeout=20)


def host_that_hangs(site: Site) -> Iterator[str]:
    site.correct(connect_timeout=3, timeout_execute=3)
    site.runner.get_host("far").connect()
    with site.server.hanging():
        yield "no answer within 3 s|says nothing for 3 s"
    site.correct(connect_timeout=20, timeout_execute=60)


def wrong_key(site: Site) -> Iterator[str]:
    key = make_key(site.directory / "strange")
    site.correct(key_filename=str(key))
    yield f"login refused; tried key {key}"
    site.server.authorize(key)


def wrong_passphrase(site: Site) -> Iterator[str]:
    key = make_key(site.directory / "locked", "open sesame")
    site.server.authorize(key)
    site.correct(key_filename=str(key), passphrase="s3cret")
    yield f"key {key} .wrong passphrase, or no private key."
    site.correct(passphrase="open sesame")


def changed_host_key(site: Site) -> Iterator[str]:
    site.runner.get_host("far").close()
    site.server.stop()
    site.server.change_host_key()
    site.server.start()
    yield "the key of host .* has changed: .* accept it: ssh-keygen -R"
    (site.project.base_dir / "known_hosts").unlink()


def agent_without_keys(site: Site) -> Iterator[str]:
    agent = site.living.enter_context(closing(Agent(site.directory)))
    site.living.enter_context(pytest.MonkeyPatch.context()).setenv("SSH_AUTH_SOCK", str(agent.socket))
    site.correct(key_filename=None)
    yield "tried no keys of the SSH agent"
    agent.add(site.server.key)


def gateway_that_is_down(site: Site) -> Iterator[str]:
    gateway = Sshd(site.directory / "gateway")
    site.correct(gateway={"host": gateway.host, "port": gateway.port, "key_filename": str(gateway.key)})
    yield f"gateway .*:{gateway.port}: Connection refused"
    site.living.enter_context(contextmanager(running)(gateway))


HOST_TROUBLES: tuple[Trouble, ...] = (
    unknown_host,
    refused_port,
    host_that_says_nothing,
    host_that_hangs,
    wrong_key,
    wrong_passphrase,
    changed_host_key,
    agent_without_keys,
    gateway_that_is_down,
)


@pytest.mark.parametrize("trouble", HOST_TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_job_waits_while_its_host_is_in_trouble(site: Site, trouble: Trouble) -> None:
    # Given a host that cannot be worked with
    with contextmanager(trouble)(site) as says:
        # When its job is to be uploaded, twice
        for _ in range(2):
            job = site.upload()
            # Then the job waits, spends no attempt, and says why in one line
            assert_waits(job, says)
    # When the cause is gone, then the job goes on
    assert site.upload()["state"] == "UPLOADED"
    assert site.job["remote"]["error"] is None


# The work_dir


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Yield a file system with room for next to nothing; it needs root."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def full_work_dir(site: Site) -> Iterator[str]:
    site.living.enter_context(small_disk(site.work_dir))
    with suppress(OSError):
        (site.work_dir / "others").write_bytes(b"x" * 2**17)
    yield f"127.0.0.1: cannot write {re.escape(str(site.work_dir))}/.*: No space left on device; the job waits"
    (site.work_dir / "others").unlink()


def test_a_job_waits_for_room(site: Site) -> None:
    # Given a disk that is full
    with contextmanager(full_work_dir)(site) as says:
        # When a job should be uploaded there, then it waits, and spends no attempt
        assert_waits(site.upload(), says)
        assert [path.name for path in site.work_dir.rglob("*") if path.is_file()] == ["others"]
    # When somebody has made room, and the job's time has come, then it goes on
    site.project.db.jobs.update_one({}, {"$set": {"remote.retry_time_limit": None}})
    assert site.upload()["state"] == "UPLOADED"


def test_a_result_waits_for_room_on_this_machine(site: Site) -> None:
    # Given a job that has ended, and a disk of ours that is full
    site.project.rewrite(tmp_dir=str(site.directory / "ours"))
    site.correct(execution_cmd="true {}")
    site.run()
    site.living.enter_context(small_disk(site.directory / "ours"))
    others = site.directory / "ours" / "others"
    with suppress(OSError):
        others.write_bytes(b"x" * 2**17)
    # When its files are to be brought here
    site.runner.advance_state(["RUN_FINISHED"])
    # Then it waits
    assert_waits(site.job, "this machine: cannot write to .*: No space left on device; the job waits", "RUN_FINISHED")
    # When there is room again, then they are
    others.unlink()
    site.project.db.jobs.update_one({}, {"$set": {"remote.retry_time_limit": None}})
    site.runner.advance_state(["RUN_FINISHED"])
    assert site.job["state"] == "DOWNLOADED"


def read_only_work_dir(site: Site) -> Iterator[str]:
    site.living.enter_context(small_disk(site.work_dir))
    subprocess.run(["mount", "-o", "remount,ro", str(site.work_dir)], check=True)
    yield f"127.0.0.1: cannot write {re.escape(str(site.work_dir))}/.*: Read-only file system"
    subprocess.run(["mount", "-o", "remount,rw", str(site.work_dir)], check=True)


def work_dir_below_a_file(site: Site) -> Iterator[str]:
    site.work_dir.touch()
    yield f"127.0.0.1: cannot write {re.escape(str(site.work_dir))}/.*: Not a directory"
    site.work_dir.unlink()


@pytest.mark.parametrize("trouble", [read_only_work_dir, work_dir_below_a_file])
def test_a_job_stops_where_waiting_does_not_help(site: Site, trouble: Trouble) -> None:
    # Given a work_dir that cannot be used
    with contextmanager(trouble)(site) as says:
        # When a job should be uploaded there, then it says why it is not, and has left nothing
        job = site.upload()
        assert (job["state"], job["previous_state"], job["lock_id"]) == ("REMOTE_ERROR", "CHECKED_OUT", None)
        assert_one_line(job["remote"]["error"], says)
    # When the cause is gone and the user retries the job, as jobflow-remote's `job retry` does, then it goes on
    site.project.db.jobs.update_one({}, {"$set": {"state": "CHECKED_OUT", "previous_state": None}})
    assert site.upload()["state"] == "UPLOADED"


# The worker command and what it leaves

ENDED = '{{"response": {{}}, "error": null, "end_time": {{"string": "2025-06-01 12:00:00+00:00"}}}}'
OUT, STORE = "jfremote_out.json", "remote_job_data.json"
BAD_COMMANDS = {
    "no command": ({}, rf"left no {OUT} in {{run_dir}}.*jfr-mp: command not found"),
    "no package": (
        {"pre_run": f"export PATH={Path(sys.executable).parent}:$PATH"},
        r"The function tests\.support\.jobs\.add cannot be imported on this worker by .*Install the package",
    ),
    "no output": ({"execution_cmd": "echo no licence >&2; : {}"}, rf"left no {OUT} in {{run_dir}}.*no licence"),
    "half an output": (
        {"execution_cmd": f"""printf '{{{{"response": {{{{' >{OUT}; : {{}}"""},
        rf"{OUT} in {{run_dir}} is damaged or incomplete JSON",
    ),
    "no stored data": ({"execution_cmd": f"echo '{ENDED}' >{OUT}; : {{}}"}, f"left no file {STORE}"),
    "half of the stored data": (
        {"execution_cmd": f"""echo '{ENDED}' >{OUT}; echo '[{{{{"uuid": ' >{STORE}; : {{}}"""},
        f"{STORE} .*damaged.*rerun the job",
    ),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_job_that_leaves_no_result_says_why(site: Site, name: str) -> None:
    # Given a worker command that does not do what it should
    fields, says = BAD_COMMANDS[name]
    site.correct(**fields)
    # When a job has been run by it
    site.runner.run_all_jobs(max_seconds=60)
    # Then the job says why it has no result, with the directory on the host, and the last words of the command
    job = site.job
    assert job["state"] in ("FAILED", "REMOTE_ERROR")
    error = job["error"] or job["remote"]["error"]
    assert_says(error, says.format(run_dir=re.escape(job["run_dir"])))
    assert "Traceback" not in error


def peak() -> int:
    """Return the most memory that this process has had at a time, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_an_output_of_a_gigabyte(site: Site) -> None:
    # Given a job that leaves a gigabyte
    site.correct(execution_cmd=f"echo '{ENDED}' >{OUT}; truncate -s 1G {STORE}; : {{}}")
    site.run()
    # When it is to be brought here
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    site.runner.advance_state(["RUN_FINISHED"])
    # Then it is left there, the job says why it cannot be stored, and it never was in the memory
    assert list(site.project.base_dir.rglob(STORE)) == []
    assert site.job["state"] == "REMOTE_ERROR"
    assert_one_line(site.job["remote"]["error"], f"{STORE}: it has 1024 MB .* additional store")
    assert peak() - before < 64 * 2**20


def assert_waits(job: dict[str, Any], says: str, state: str = "CHECKED_OUT") -> None:
    remote = job["remote"]
    assert (job["state"], job["lock_id"], remote["step_attempts"]) == (state, None, 0), remote["error"]
    assert_one_line(remote["error"], says)


def assert_one_line(error: str, says: str) -> None:
    assert_says(error, says)
    assert "\n" not in error


def assert_says(error: str, says: str) -> None:
    assert re.search(says, error, re.DOTALL), f"{error!r} does not say {says!r}"
