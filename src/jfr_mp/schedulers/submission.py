"""Submitting a job to a scheduler exactly once, even if processes or connections fail at any point.

One command on the host submits the job and writes the scheduler's id to the run directory. While it does so, it holds a
claim, a file in the run directory, which remains if the command is killed. The next attempt waits for a claim whose
holder is running. If the claim is stale, the attempt asks the scheduler for a job with the submission token in its
name, and adopts it. A job that has ended is not in the queue any more, but it has written its id itself, by the lines
of `once_lines`.

These lines also handle two cases that asking the scheduler cannot. If the scheduler has accepted a job twice, the job
whose id is in the run directory runs, and the other one exits at once. If the scheduler has lost the record of a job in
a crash and runs it again, the existing output is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from jfr_mp.errors import SchedulerError
from jfr_mp.hosts import BaseHost
from jfr_mp.hosts.quoting import quote
from jfr_mp.jobdata.files import OUT_FILENAME, SUBMIT_SCRIPT

#: The file in the run directory with the scheduler's id of the job.
PROCESS_ID_FILENAME = "jfr_mp_process_id"
#: The claim of an attempt to submit, with its machine, session and process.
CLAIM_FILENAME = "jfr_mp_submitting"
#: The files that a submission leaves in the run directory.
SUBMISSION_FILES = (PROCESS_ID_FILENAME, CLAIM_FILENAME)

#: Reads the script from the standard input and checks that it has $1 bytes, because the sender may be killed.
RECEIVE = f"""
cat >.{SUBMIT_SCRIPT}.$$ || exit
test "$(wc -c <.{SUBMIT_SCRIPT}.$$)" -eq "$1" || {{ rm -f .{SUBMIT_SCRIPT}.$$; echo truncated script >&2; exit 1; }}
"""

#: $2 is the maximum number of seconds for the command, $3 a claim that is known to be stale, $4 the sed script that
#: finds the id in the output of the command, which is the rest. Prints the verdict, then its details.
#:
#: A claim of sufficient age is stale, even on another login node, because no command runs longer than `timeout`. The
#: age is computed by the clock of the file server only. On the same node, a session without processes is stale at once.
_SUBMIT = f"""
limit=$2 stale=$3 id_finder=$4
mine=.{CLAIM_FILENAME}.$$
trap 'rm -f $mine .{SUBMIT_SCRIPT}.$$ .{PROCESS_ID_FILENAME}.$$' EXIT
known() {{
    test -s {PROCESS_ID_FILENAME} || return 0
    echo jfr-mp known
    cat {PROCESS_ID_FILENAME}
    exit 0
}}
over() {{
    test "$1" = "$(uname -n)" && ! ps -o stat= -s "$2" | grep -qv Z && return
    now=$(date -r $mine +%s) && made=$(date -r {CLAIM_FILENAME} +%s) && test $((now - made)) -gt $((limit + 10))
}}
{RECEIVE}
known
read -r _ _ _ _ _ session _ </proc/$$/stat
echo "$(uname -n) $session $$" >$mine || exit
shift 4
looks=0
until trouble=$(ln $mine {CLAIM_FILENAME} 2>&1); do
    known
    if claim=$(cat {CLAIM_FILENAME} 2>/dev/null); then
        test "$claim" = "$stale" && mv -f $mine {CLAIM_FILENAME} && break
        over $claim 2>/dev/null && {{ echo jfr-mp stale; echo "$claim"; exit; }}
    fi
    looks=$((looks + 1))
    if test $looks -gt 50; then
        # If there is no claim to wait for, the link failed for another reason.
        test "$claim" || {{ echo "$trouble" >&2; exit 1; }}
        echo jfr-mp busy
        echo "$claim"
        exit
    fi
    sleep 0.2
done
# Checked again: creating the claim makes a network file system refresh the directory.
known
mv .{SUBMIT_SCRIPT}.$$ {SUBMIT_SCRIPT} || exit
said=$(timeout -k 5 "$limit" "$@" </dev/null)
code=$?
id=$(printf '%s\\n' "$said" | sed -n "$id_finder")
if test $code -ne 0 || test -z "$id"; then
    echo jfr-mp refused $code
    printf '%s\\n' "$said"
    exit 0
fi
printf '%s\\n' "$id" >.{PROCESS_ID_FILENAME}.$$ && ln .{PROCESS_ID_FILENAME}.$$ {PROCESS_ID_FILENAME} 2>/dev/null
rm -f {CLAIM_FILENAME}
known
# The file could not be written, for example because the disk is full. The caller stores the id.
echo jfr-mp known
echo "$id"
"""

_VERDICT = re.compile(r"^jfr-mp (known|stale|busy|refused)(?: (\d+))?\n(.*)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SubmitCommand:
    """The submit command of a scheduler.

    Parameters
    ----------
    argv
        The command, which submits the script in the working directory.
    id_finder
        A script for ``sed -n`` that extracts the job id from the output of the command.
    limit
        Seconds that the command may take.
    """

    argv: Sequence[str]
    id_finder: str
    limit: int


@dataclass(frozen=True)
class Attempt:
    """The result of an attempt to submit.

    Parameters
    ----------
    verdict
        ``known``: the scheduler has the job, from this or an earlier attempt, and `text` contains the id. ``stale``: an
        earlier attempt was killed, and `text` is its claim. ``busy``: an earlier attempt may still be in progress.
        ``refused``: the command failed with `code`, or printed no id; `text` is its output.
    """

    verdict: str
    text: str
    code: int = 0


def attempt(
    host: BaseHost, run_dir: str | PurePath, script: str, command: SubmitCommand, *, stale: str = ""
) -> Attempt:
    """Submit a script, unless an earlier attempt has submitted it or is still in progress.

    Parameters
    ----------
    host
        The host.
    run_dir
        The run directory of the job.
    script
        The submission script.
    command
        The submit command.
    stale
        The claim of an attempt that is known to have been killed.

    Raises
    ------
    HostError
        The host did not answer, or the run directory cannot be written.
    """
    arguments = [size_of(script), str(command.limit), stale, command.id_finder, *command.argv]
    # Longer than the command and the time to wait for another attempt.
    argv = ["/bin/sh", "-c", _SUBMIT, "jfr-mp", *arguments]
    result = host.run_together(argv, cwd=run_dir, timeout=command.limit + 30, stdin=script)
    match = _VERDICT.search(result.stdout)
    if match is None:
        reason = " ".join((result.stderr or result.stdout).split())[:500] or f"exit code {result.returncode}"
        raise SchedulerError(f"{host.name}: the job in {run_dir} could not be submitted: {reason}")
    verdict, code, text = match.groups()
    if verdict == "refused":
        text = f"{text}\n{result.stderr}"
    return Attempt(verdict, text.strip(), int(code or 0))


def size_of(script: str) -> str:
    """Return the first argument of `RECEIVE`."""
    return str(len(script.encode()))


def adopt(host: BaseHost, run_dir: str | PurePath, process_id: str) -> None:
    """Write the id of a job that was found in the queue of the scheduler."""
    host.write(PurePosixPath(run_dir, PROCESS_ID_FILENAME), f"{process_id}\n".encode())
    give_up_claim(host, run_dir)


def give_up_claim(host: BaseHost, run_dir: str | PurePath) -> None:
    """Remove the claim, so that the next attempt does not look for a job."""
    host.remove(PurePosixPath(run_dir, CLAIM_FILENAME))


def once_lines(run_dir: str, submission: str, id_variable: str) -> list[str]:
    """Return the shell lines that make a script exit if the scheduler runs it a second time.

    A script runs a second time if its output exists already, or if the run directory has another id. The lines also
    write the id if it is missing, and exit if the run directory belongs to a later submission.

    Parameters
    ----------
    run_dir
        The run directory.
    submission
        The submission token of this run, which the script contains.
    id_variable
        The environment variable with the scheduler's id.
    """
    own = f".{PROCESS_ID_FILENAME}.$1"
    # Only the number is compared, because schedulers use both "12.server" and "12".
    return [
        "jfr_mp_is_superfluous() (",
        f"    cd {quote([run_dir])} || exit 1",
        f"    if [ ! -s {PROCESS_ID_FILENAME} ]; then",
        f"        grep -q {quote([submission])} {SUBMIT_SCRIPT} || exit 0",
        f'        echo "$1" >"{own}" && ln "{own}" {PROCESS_ID_FILENAME}',
        f'        rm -f "{own}"',
        "    fi",
        # An output that is older than the id belongs to an earlier submission.
        f"    grep -q end_time {OUT_FILENAME} && [ ! {OUT_FILENAME} -ot {PROCESS_ID_FILENAME} ] && exit 0",
        f'    read -r id <{PROCESS_ID_FILENAME} && [ "${{id%%[!0-9]*}}" != "${{1%%[!0-9]*}}" ]',
        ") 2>/dev/null",
        f'if [ -n "${{{id_variable}:-}}" ] && jfr_mp_is_superfluous "${id_variable}"; then',
        f'    echo "jfr-mp: job ${id_variable} exits: it has already run, or another job runs in its place" >&2',
        "    exit 0",
        "fi",
    ]
