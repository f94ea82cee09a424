"""The shell as a scheduler: a job is a process on the host, and its id is the pid.

The process of the job writes its id next to its script and hard-links it to its final name, which only one process can
do. Only the process that succeeded continues and runs the script. However often a submission is repeated, and wherever
the submitting process is killed, the script runs once, and every repetition gets its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from jfr_mp.errors import HostError, SchedulerError
from jfr_mp.hosts import BaseHost, CommandResult
from jfr_mp.hosts.quoting import quote
from jfr_mp.jobdata.files import OOM_SCORE, QUEUE_ERR, QUEUE_OUT, SUBMIT_SCRIPT
from jfr_mp.schedulers.dialect import Dialect, Listed, no_answer
from jfr_mp.schedulers.submission import PROCESS_ID_FILENAME, RECEIVE, size_of

#: Starts a process in its own session, which is not affected by signals to this one, and lets it find out whether it is
#: the job. The process keeps the pipe open until then, so that `cat` ends when the process has printed its answer.
_SUBMIT = f"""{RECEIVE}
mv .{SUBMIT_SCRIPT}.$$ {SUBMIT_SCRIPT} || exit
{{ setsid /bin/sh -c "$2" jfr-mp-job </dev/null & }} | cat
"""

#: The pid is also the id of the session and of the process group. A subshell prints it, because the submitting process
#: may have been killed, and the signal for the broken pipe must not reach the job.
_BECOME_THE_JOB = f"""
claimed=
if ! test -s {PROCESS_ID_FILENAME} && echo $$ > .{PROCESS_ID_FILENAME}.$$; then
    ln .{PROCESS_ID_FILENAME}.$$ {PROCESS_ID_FILENAME} && claimed=yes
    rm -f .{PROCESS_ID_FILENAME}.$$
fi
test "$claimed" || exec cat {PROCESS_ID_FILENAME}
(echo $$)
score=/proc/self/oom_score_adj
{{ read -r now <$score && test "$now" -ge {OOM_SCORE} || echo {OOM_SCORE} >$score; }} 2>/dev/null
exec bash {SUBMIT_SCRIPT} >{QUEUE_OUT} 2>{QUEUE_ERR}
"""

#: Stops a process group by SIGTERM, then by SIGKILL. A pid that is not the leader of a session has been reused and does
#: not belong to the job. A pid is not reused while its process group exists, so processes that the job left behind can
#: be killed even if the pid has no process any more.
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


def shown_name(name: str) -> str:
    """Return the name of a job as its output shows it, in one line."""
    return "".join(letter if letter.isprintable() else "_" for letter in name)


class Shell(Dialect):
    """The shell of a host and its process table."""

    def job_name(self, name: str, submission: str) -> str:
        """Return the name of a job, quoted, because the header is itself shell text."""
        return quote([shown_name(name)])

    def read_list(self, result: CommandResult) -> Iterator[Listed]:
        """Return the jobs in an answer; each row is parsed separately, and ps prints its heading even without jobs."""
        heading, *rows = result.stdout.splitlines() or [""]
        if not heading.strip() or (result.returncode != 0 and result.stderr.strip()):
            raise no_answer(result)
        for row in filter(str.strip, rows):
            yield self.read_job(row.split()[0], f"{heading}\n{row}")


def submit_to_shell(host: BaseHost, run_dir: str | PurePath, script: str, *, timeout: float | None = None) -> str:
    """Run a script in the background, or find the process that is already running it.

    Returns
    -------
    str
        The pid.

    Raises
    ------
    SchedulerError
        The script was not started.
    HostError
        The host did not answer. The job may have started; submitting it again finds out.
    """
    argv = ["/bin/sh", "-c", _SUBMIT, "jfr-mp", size_of(script), _BECOME_THE_JOB]
    result = host.run_together(argv, cwd=run_dir, timeout=timeout, stdin=script)
    process_id = result.stdout.strip()
    if result.returncode == 0 and re.fullmatch(r"[1-9][0-9]*", process_id):
        return process_id
    reason = " ".join((result.stderr or result.stdout).split()) or f"exit code {result.returncode}"
    raise SchedulerError(f"{host.name}: the script in {run_dir} could not be started: {reason}")


def cancel_on_shell(host: BaseHost, process_id: str, *, timeout: float | None = None) -> None:
    """Stop a job and all processes that it started; do nothing if it does not exist any more.

    Raises
    ------
    HostError
        The host did not answer, or does not allow the job to be stopped.
    """
    result = host.run_script(_CANCEL, process_id, timeout=timeout, idempotent=True)
    if result.returncode != 0:
        raise HostError(f"{host.name}: process {process_id} could not be stopped: {result.stderr.strip()}")
