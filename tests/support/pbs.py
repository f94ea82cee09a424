"""A PBS of the tests' own: executables `qsub`, `qstat` and `qdel` that behave as those of OpenPBS and really run jobs.

    python pbs.py STATE_DIRECTORY qsub|qstat|qdel ARGUMENTS

What a server would know is in a directory: a subdirectory for each job, with its attributes as files. Messages, exit
codes and the long form of qstat are those of OpenPBS 22; output files are copied to their place when a job ends. No
real server can be installed here.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER = "pbs-test"
#: Exit codes: an error of the protocol modulo 256.
UNKNOWN_JOB, FINISHED_JOB, UNKNOWN_QUEUE, TOO_MANY_JOBS = 153, 35, 170, 226
#: Queues: jobs of `held` wait for ever.
QUEUES = ("workq", "held")


class Pbs:
    """The server: its jobs, and the clients on a PATH.

    Parameters
    ----------
    directory
        Where everything is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.jobs = directory / "jobs"
        self.bin = directory / "bin"
        #: Jobs of one user that the server takes at once.
        self._limit = directory / "limit"
        self._directory = directory

    def start(self) -> None:
        """Make the executables."""
        self.jobs.mkdir(parents=True)
        self.bin.mkdir()
        for name in ("qsub", "qstat", "qdel"):
            client = self.bin / name
            words = shlex.join([sys.executable, "-S", "-E", __file__, str(self._directory), name])
            client.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            client.chmod(0o755)

    def stop(self) -> None:
        """End all jobs."""
        for job in self.jobs.iterdir():
            _end(job)

    def limit(self, jobs: int | None) -> None:
        """Let a user have so many jobs."""
        self._limit.unlink(missing_ok=True)
        if jobs is not None:
            self._limit.write_text(str(jobs))

    def forget(self, job_id: str) -> None:
        """Let the history of an ended job end."""
        shutil.rmtree(self.jobs / job_id)

    def call(self, name: str, arguments: Sequence[str]) -> int:
        """Do what a client does, and return its exit code."""
        return {"qsub": self.qsub, "qstat": self.qstat, "qdel": self.qdel}[name](arguments)

    def qsub(self, arguments: Sequence[str]) -> int:
        """Take a job and print its id."""
        script = Path(arguments[-1])
        if not script.exists():
            return _complain("qsub: script file:: No such file or directory", 1)
        options = _directives(script.read_text())
        queue = options.get("q", QUEUES[0])
        if queue not in QUEUES:
            return _complain("qsub: Unknown queue", UNKNOWN_QUEUE)
        if self._limit.exists() and len([*self.jobs.iterdir()]) >= int(self._limit.read_text()):
            return _complain("qsub: would exceed complex's per-user limit of jobs in 'Q' state", TOO_MANY_JOBS)
        job = self._new_job()
        for name, value in {
            "Job_Name": options.get("N", script.name),
            "queue": queue,
            "Output_Path": _absolute(options.get("o", f"{script.name}.o")),
            "Error_Path": _absolute(options.get("e", f"{script.name}.e")),
            "directory": str(Path.cwd()),
            "ctime": time.ctime(),
        }.items():
            (job / name).write_text(value)
        shutil.copy(script, job / "script")
        if queue != "held":
            _begin(job)
        print(job.name)
        return 0

    def qstat(self, arguments: Sequence[str]) -> int:
        """Print the long form of jobs."""
        if "-f" not in arguments or "-u" in arguments:
            return _complain("qstat: conflicting options.", 2)
        wanted = [word for word in arguments if not word.startswith("-")]
        code = 0
        for name in wanted or sorted(job.name for job in self.jobs.iterdir() if _state(job) != "F"):
            job = self.jobs / name
            if not job.exists():
                code = _complain(f"qstat: Unknown Job Id {name}", UNKNOWN_JOB)
            elif _state(job) == "F":
                text = f"qstat: {name} Job has finished, use -x or -H to obtain historical job information"
                code = _complain(text, FINISHED_JOB)
            else:
                print(_long_form(job))
        return code

    def qdel(self, arguments: Sequence[str]) -> int:
        """End jobs."""
        code = 0
        for name in arguments:
            job = self.jobs / name
            if not job.exists():
                code = _complain(f"qdel: Unknown Job Id {name}", UNKNOWN_JOB)
            elif _state(job) == "F":
                code = _complain(f"qdel: Job has finished {name}", FINISHED_JOB)
            else:
                _end(job)
        return code

    def _new_job(self) -> Path:
        number = 1 + max((int(job.name.partition(".")[0]) for job in self.jobs.iterdir()), default=0)
        while True:
            with contextlib.suppress(FileExistsError):
                job = self.jobs / f"{number}.{SERVER}"
                job.mkdir()
                return job
            number += 1


#: Runs a job: in its own session, from the home of the user, with the output spooled until its end.
_RUN = """
echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid"
cd ~
bash "$1/script" </dev/null >"$1/out" 2>"$1/err"
cp "$1/out" "$(cat "$1/Output_Path")"
cp "$1/err" "$(cat "$1/Error_Path")"
touch "$1/finished"
"""


def _begin(job: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PBS_JOBID": job.name}
    subprocess.Popen(
        ["/bin/sh", "-c", _RUN, "pbs-job", str(job)],
        env={**env, "PBS_O_WORKDIR": str(Path.cwd())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(job: Path) -> None:
    (job / "finished").touch()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int((job / "pid").read_text()), signal.SIGKILL)


def _state(job: Path) -> str:
    if (job / "finished").exists():
        return "F"
    return "R" if (job / "pid").exists() else "Q"


def _long_form(job: Path) -> str:
    fields: Mapping[str, str] = {
        "Job_Name": (job / "Job_Name").read_text(),
        "Job_Owner": f"{getpass.getuser()}@localhost",
        "job_state": _state(job),
        "queue": (job / "queue").read_text(),
        "server": SERVER,
        "ctime": (job / "ctime").read_text(),
        "Error_Path": f"localhost:{(job / 'Error_Path').read_text()}",
        "Output_Path": f"localhost:{(job / 'Output_Path').read_text()}",
        "Priority": "0",
        "Resource_List.ncpus": "1",
        "Resource_List.nodect": "1",
        "Resource_List.select": "1:ncpus=1",
        "substate": "42",
        "Variable_List": f"PBS_O_WORKDIR={(job / 'directory').read_text()},PBS_O_HOST=localhost",
    }
    return "\n".join([f"Job Id: {job.name}", *(f"    {name} = {value}" for name, value in fields.items()), ""])


def _directives(script: str) -> dict[str, str]:
    """Return the options of a script by letter."""
    found = re.findall(r"^#PBS -(\w)\s+(.*)$", script, flags=re.MULTILINE)
    return {letter: value.strip() for letter, value in found}


def _absolute(path: str) -> str:
    """Return a path as the server keeps it: a relative one belongs to the directory of qsub."""
    return str(Path.cwd() / path)


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(Pbs(Path(sys.argv[1])).call(sys.argv[2], sys.argv[3:]))
