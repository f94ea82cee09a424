from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from qtoolkit.core.data_objects import QResources
from qtoolkit.io.shell import ShellIO
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.config.workers import ExecutionConfig, LocalWorker, RemoteWorker
from jfr_mp.errors import ConfigError
from jfr_mp.model import JobDoc
from jfr_mp.schedulers.journal import journal_path
from jfr_mp.schedulers.script import execution_command, job_script, warm_template

UUID = "abcdef01-2345-6789-abcd-ef0123456789"


def job_doc(name: str = "add", **fields: Any) -> JobDoc:
    return JobDoc(job={"name": name}, uuid=UUID, index=2, db_id="1", worker="w", state="UPLOADED", **fields)


def local_worker(work_dir: Path = Path("/w"), **fields: Any) -> LocalWorker:
    return LocalWorker(scheduler_type="shell", work_dir=work_dir, **fields)


def test_the_parts_are_in_the_peers_order() -> None:
    # Given a worker and an exec_config that set everything
    worker = local_worker(pre_run="echo worker-pre", post_run="echo worker-post", execution_cmd="run {}")
    exec_config = ExecutionConfig(
        pre_run="echo pre; x=$(date)", post_run="echo post", export={"A": "$B"}, modules=["gcc/12 openmpi"]
    )
    # When the script is made
    lines = job_script(job_doc(), worker, exec_config, ShellIO(), "/w/run", "t").splitlines()
    # Then the header, with what the peer puts there, comes first and what users wrote is as they wrote it
    assert lines[:4] == ["#!/bin/bash", "exec > /w/run/queue.out", "exec 2> /w/run/queue.err", ""]
    assert "echo add" in lines
    assert lines[lines.index("cd /w/run || exit 1") :] == [
        "cd /w/run || exit 1",
        "echo worker-pre",
        "echo pre; x=$(date)",
        'export A="$B"',
        "module load gcc/12 openmpi",
        "run /w/run",
        "echo worker-post",
        "echo post",
    ]


NASTY_NAMES = [
    "relax (1); touch x",
    "$(touch x)",
    "`touch x`",
    'it\'s "quoted"',
    "two\nlines; touch x",
    "a$$b; touch x",
    "$$job_name",
    "é",
    "",
    "-n",
]


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_no_name_and_no_directory_is_taken_for_shell_text(tmp_path: Path, name: str) -> None:
    # Given a run directory and a job whose names are shell text
    directory_name = name.replace("/", "_") or "empty"
    work_dir = tmp_path / f"w {directory_name}"
    run_dir = work_dir / "run dir"
    run_dir.mkdir(parents=True)
    worker = local_worker(work_dir, execution_cmd="printf '%s' {} > ran; echo out; echo err >&2", post_run="exit 3")
    script = job_script(job_doc(name), worker, ExecutionConfig(), ShellIO(), str(run_dir), "t")
    # When the script runs
    done = subprocess.run(["bash", "-c", script], cwd=run_dir, capture_output=True, check=False)
    # Then it did what it should, kept its exit code, reported to the journal, and nothing else happened
    assert done.returncode == 3
    assert (run_dir / "ran").read_text() == str(run_dir)
    assert (run_dir / "queue.out").read_text().endswith("out\n")
    assert (run_dir / "queue.err").read_text() == "err\n"
    assert sorted(path.name for path in run_dir.iterdir()) == ["queue.err", "queue.out", "ran"]
    assert sorted(path.name for path in work_dir.iterdir()) == [".jfr_mp", "run dir"]
    assert [line.split()[0] for line in Path(journal_path(work_dir)).read_text().splitlines()] == ["start", "end"]


def test_a_job_runs_under_its_own_name(tmp_path: Path) -> None:
    name = "relax (1); touch x"
    worker = local_worker(tmp_path, execution_cmd=": {}")
    script = job_script(job_doc(name), worker, ExecutionConfig(), ShellIO(), str(tmp_path), "t")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)
    assert name in (tmp_path / "queue.out").read_text().splitlines()


def test_a_directory_that_is_gone_stops_the_script(tmp_path: Path) -> None:
    worker = local_worker(tmp_path, execution_cmd="touch ran {}")
    script = job_script(job_doc(), worker, ExecutionConfig(), ShellIO(), str(tmp_path / "gone"), "t")
    assert subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False).returncode == 1
    assert not (tmp_path / "ran").exists()


def test_a_journal_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    # Given a worker whose journal directory cannot be made
    (tmp_path / ".jfr_mp").touch()
    worker = local_worker(tmp_path, execution_cmd="touch {}/ran", pre_run="set -e")
    script = job_script(job_doc(), worker, ExecutionConfig(), ShellIO(), str(tmp_path), "t")
    # When its script runs
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)
    # Then it ends well, and without a word about the journal
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "queue.err").read_text() == ""


def test_directives_get_a_plain_name_and_plain_paths() -> None:
    worker = local_worker(execution_cmd="run {}", resources={"nodes": 2})
    script = job_script(job_doc("relax (1); é\n#SBATCH -x"), worker, ExecutionConfig(), SlurmIO(), "/w/a b", "t")
    assert "#SBATCH --job-name=relax__1______SBATCH_-x-t\n" in script
    # Slurm would expand a %, PBS would look for the host before a colon
    for run_dir in ("/w/a b", "/w/%j", "/w/a:b"):
        script = job_script(job_doc(), worker, ExecutionConfig(), SlurmIO(), run_dir, "t")
        assert "#SBATCH --output=queue.out\n" in script
    assert "#SBATCH --nodes=2\n" in script
    assert "#SBATCH --output=/w/ab/queue.out\n" in job_script(
        job_doc(), worker, ExecutionConfig(), SlurmIO(), "/w/ab", "t"
    )


def test_the_resources_of_a_job_go_before_those_of_its_worker_and_neither_is_changed() -> None:
    worker = local_worker(execution_cmd="run {}", resources={"nodes": 2})
    job = job_doc(resources=QResources(queue_name="fast", processes=1).as_dict())
    script = job_script(job, worker, ExecutionConfig(), SlurmIO(), "/w/r", "t")
    assert "#SBATCH --partition=fast\n" in script
    assert "--nodes" not in script
    assert worker.resources == {"nodes": 2}


@pytest.mark.parametrize("resources", [{"nodse": 1}, QResources(queue_name="fast", processes=1).as_dict()])
def test_resources_that_the_scheduler_does_not_know_are_refused(resources: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="resources of job 'add'"):
        job_script(job_doc(resources=resources), local_worker(), ExecutionConfig(), ShellIO(), "/w/r", "t")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("jf -fe execution run {}", "jf -fe execution run '/w/a b'"),
        ('jf run "{}"', "jf run '/w/a b'"),
        ("jf run '{}'", "jf run '/w/a b'"),
        ("${{HOME}}/jf run {}", "${HOME}/jf run '/w/a b'"),
    ],
)
def test_the_users_command_gets_the_quoted_directory(template: str, expected: str) -> None:
    assert execution_command(local_worker(execution_cmd=template), "/w/a b") == expected


@pytest.mark.parametrize("template", ["${HOME}/jf run {}", "run {} {1}", "run {} }", "run {} {}"])
def test_other_braces_are_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="must be doubled"):
        execution_command(local_worker(execution_cmd=template), "/w/r")


def test_without_a_command_a_local_worker_falls_back_on_this_python() -> None:
    command = shlex.split(execution_command(local_worker(), "/w/a b"))
    assert (command[0], command[-4:]) == (sys.executable, ["-", sys.executable, "run", "/w/a b"])
    remote = RemoteWorker(scheduler_type="slurm", host="h", work_dir=Path("/w"))
    assert execution_command(remote, "/w/{}") == "jfr-mp execution run '/w/{}'"


def test_a_warm_worker_has_its_servers_in_a_directory() -> None:
    warm = local_worker(execution_cmd=warm_template(local_worker(), Path("/run/{x} y")))
    assert shlex.split(execution_command(warm, "/w/a b"))[-4:] == ["/run/{x} y", sys.executable, "run", "/w/a b"]
