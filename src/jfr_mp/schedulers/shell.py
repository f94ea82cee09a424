"""No scheduler at all: a job is a process of the host, its id the pid.

The process itself is the job. It writes its id beside its script and hard-links it to its final name, which one process
alone can do; only the one that did goes on to run the script. However often a submission is repeated, and wherever the
process that submits is killed, one script runs, and every repetition learns its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from jfr_mp.errors import HostError, SchedulerError
from jfr_mp.hosts import BaseHost, CommandResult
from jfr_mp.hosts.quoting import quote
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT, SUBMIT_SCRIPT
from jfr_mp.schedulers.dialect import Dialect, Listed, no_answer
from jfr_mp.schedulers.submission import PROCESS_ID_FILENAME, RECEIVE, size_of

#: Starts a process in a session of its own, which no signal for ours reaches, and lets it decide whether it is the job.
#: The process holds our output until it has decided: the end of the output is the moment to go on.
_SUBMIT = f"""{RECEIVE}
mv .{SUBMIT_SCRIPT}.$$ {SUBMIT_SCRIPT} || exit
setsid /bin/sh -c "$2" jfr-mp-job </dev/null &
"""

#: The pid is also the id of the session and of the process group. A subshell prints it, for whoever submitted may be
#: gone, and the signal of the broken pipe must not hit the job.
_BECOME_THE_JOB = f"""
claimed=
if ! test -s {PROCESS_ID_FILENAME} && echo $$ > .{PROCESS_ID_FILENAME}.$$; then
    ln .{PROCESS_ID_FILENAME}.$$ {PROCESS_ID_FILENAME} && claimed=yes
    rm -f .{PROCESS_ID_FILENAME}.$$
fi
test "$claimed" || exec cat {PROCESS_ID_FILENAME}
(echo $$)
exec bash {SUBMIT_SCRIPT} >{QUEUE_OUT} 2>{QUEUE_ERR}
"""

#: Ends a process group: politely, then not. A pid that leads no session was never one of ours; it has been given anew.
#: A pid without a process is not given anew while its group lives, so what the job left behind can be ended.
_CANCEL = """
session=$(ps -o sid= -p "$1") || { kill -s KILL -- "-$1" 2>/dev/null; exit 0; }
test $session -eq "$1" || exit 0
kill -s TERM -- "-$1" || exit
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    case $(ps -o stat= -p "$1") in ''|Z*) break ;; esac
    sleep 0.1
done
kill -s KILL -- "-$1" 2>/dev/null || :
"""


class Shell(Dialect):
    """The shell of a host and its table of processes."""

    def job_name(self, name: str, submission: str) -> str:
        """Return the name as the script prints it: the header is itself shell text."""
        return quote(["".join(letter if letter.isprintable() else "_" for letter in name)])

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Read row by row; of no job at all, ps still prints the heading."""
        heading, *rows = result.stdout.splitlines() or [""]
        if not heading.strip() or (result.returncode != 0 and result.stderr.strip()):
            raise no_answer(result)
        for row in filter(str.strip, rows):
            yield self.read_job(row.split()[0], f"{heading}\n{row}")


def submit_to_shell(host: BaseHost, run_dir: str | PurePath, script: str, *, timeout: float | None = None) -> str:
    """Run a script in the background, or find the process that already does.

    Returns
    -------
    str
        The pid.

    Raises
    ------
    SchedulerError
        The script was not started.
    HostError
        The host did not answer. The job may have started; submitting again tells.
    """
    argv = ["/bin/sh", "-c", _SUBMIT, "jfr-mp", size_of(script), _BECOME_THE_JOB]
    result = host.run(argv, cwd=run_dir, timeout=timeout, stdin=script)
    process_id = result.stdout.strip()
    if result.returncode == 0 and re.fullmatch(r"[1-9][0-9]*", process_id):
        return process_id
    reason = " ".join((result.stderr or result.stdout).split()) or f"exit code {result.returncode}"
    raise SchedulerError(f"{host.name}: the script in {run_dir} could not be started: {reason}")


def cancel_on_shell(host: BaseHost, process_id: str, *, timeout: float | None = None) -> None:
    """End a job and everything it started; a job that is gone is fine.

    Raises
    ------
    HostError
        The host did not answer, or does not let us end the job.
    """
    result = host.run_script(_CANCEL, process_id, timeout=timeout, idempotent=True)
    if result.returncode != 0:
        raise HostError(f"{host.name}: process {process_id} could not be ended: {result.stderr.strip()}")
