"""Submitting to a batch scheduler once, whatever dies when.

One command of the host submits and leaves the scheduler's id in the run directory. Whoever submits holds a claim there
meanwhile, and leaves it behind on dying. The next attempt waits for a claim whose holder lives; at a stale one it asks
the scheduler for a job with our submission in its name, and adopts it. A job that has ended is in no queue any more,
but it has left its id itself, by the lines of `once_lines`. They also settle what no question can: should the scheduler
have taken a job twice, the one whose id is in the run directory runs, and the other ends at once; should it have
forgotten in a crash that it ran a job, and run it again, the output of the first time stays.
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

#: The file in the run directory that holds the scheduler's id of the job.
PROCESS_ID_FILENAME = "jfr_mp_process_id"
#: The claim of an attempt to submit: the machine, the session and the process that make it.
CLAIM_FILENAME = "jfr_mp_submitting"
#: What one submission leaves in the run directory.
SUBMISSION_FILES = (PROCESS_ID_FILENAME, CLAIM_FILENAME)

#: Reads the script from the standard input: all of it, $1 bytes, for who sends it may die on the way.
RECEIVE = f"""
cat >.{SUBMIT_SCRIPT}.$$ || exit
test "$(wc -c <.{SUBMIT_SCRIPT}.$$)" -eq "$1" || {{ rm -f .{SUBMIT_SCRIPT}.$$; echo no whole script came >&2; exit 1; }}
"""

#: $2 seconds that the command may take, $3 a claim that is known to be stale, $4 what finds the id in the output of the
#: command, which is the rest. Prints the verdict, then what belongs to it.
#:
#: By its age the holder of a claim is known to be dead, also on another login node: no command outlives `timeout`. The
#: age is reckoned by the clock of the file server alone. On the same node a session without processes tells at once.
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
        # Without a claim to wait for, the trouble is another.
        test "$claim" || {{ echo "$trouble" >&2; exit 1; }}
        echo jfr-mp busy
        echo "$claim"
        exit
    fi
    sleep 0.2
done
# Once more: looking for the claim has told a network file system to look again.
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
# There is no room for the file: whoever hears this writes the id down.
echo jfr-mp known
echo "$id"
"""

_VERDICT = re.compile(r"^jfr-mp (known|stale|busy|refused)(?: (\d+))?\n(.*)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SubmitCommand:
    """A scheduler's command.

    Parameters
    ----------
    argv
        Submits the script of its working directory.
    id_finder
        A program for ``sed -n`` that prints the id of the job out of what the command prints.
    limit
        Seconds that it may take.
    """

    argv: Sequence[str]
    id_finder: str
    limit: int


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt to submit.

    Parameters
    ----------
    verdict
        ``known``: the job is with the scheduler, by this attempt or an earlier one, and `text` is what the id is in.
        ``stale``: an earlier attempt died, and `text` is its claim. ``busy``: an earlier attempt may still be at it.
        ``refused``: the command failed with `code`, or printed no id; `text` is all that it printed.
    """

    verdict: str
    text: str
    code: int = 0


def attempt(
    host: BaseHost, run_dir: str | PurePath, script: str, command: SubmitCommand, *, stale: str = ""
) -> Attempt:
    """Submit a script, unless that is done or being done.

    Parameters
    ----------
    host
        Where.
    run_dir
        The run directory of the job.
    script
        The submission script.
    command
        What submits it.
    stale
        The claim of an attempt that is known to be dead.

    Raises
    ------
    HostError
        The host did not answer, or the run directory cannot be written.
    """
    arguments = [size_of(script), str(command.limit), stale, command.id_finder, *command.argv]
    # Longer than the command and the time for which another attempt is waited for.
    argv = ["/bin/sh", "-c", _SUBMIT, "jfr-mp", *arguments]
    result = host.run(argv, cwd=run_dir, timeout=command.limit + 30, stdin=script)
    match = _VERDICT.search(result.stdout)
    if match is None:
        reason = " ".join((result.stderr or result.stdout).split())[:500] or f"exit code {result.returncode}"
        raise SchedulerError(f"{host.name}: nothing could be submitted in {run_dir}: {reason}")
    verdict, code, text = match.groups()
    if verdict == "refused":
        text = f"{text}\n{result.stderr}"
    return Attempt(verdict, text.strip(), int(code or 0))


def size_of(script: str) -> str:
    """Return the first argument of `RECEIVE`."""
    return str(len(script.encode()))


def adopt(host: BaseHost, run_dir: str | PurePath, process_id: str) -> None:
    """Leave the id of a job that the scheduler was found to have."""
    host.write(PurePosixPath(run_dir, PROCESS_ID_FILENAME), f"{process_id}\n".encode())
    give_up_claim(host, run_dir)


def give_up_claim(host: BaseHost, run_dir: str | PurePath) -> None:
    """Tell the next attempt that there is nothing to look for."""
    host.remove(PurePosixPath(run_dir, CLAIM_FILENAME))


def once_lines(run_dir: str, submission: str, id_variable: str) -> list[str]:
    """Return the shell lines that end a script which the scheduler runs a second time.

    That is a script whose output is there already, or one under another id than the first. A job also leaves its id
    where that is missing, and does nothing where its run directory was given to a later submission.

    Parameters
    ----------
    run_dir
        The run directory.
    submission
        The token of this run, which the script has in it.
    id_variable
        The environment variable with the scheduler's id.
    """
    own = f".{PROCESS_ID_FILENAME}.$1"
    # Of "12.server" and "12" alike, the number counts: schedulers are not always consistent there.
    return [
        "jfr_mp_is_superfluous() (",
        f"    cd {quote([run_dir])} || exit 1",
        f"    if [ ! -s {PROCESS_ID_FILENAME} ]; then",
        f"        grep -q {quote([submission])} {SUBMIT_SCRIPT} || exit 0",
        f'        echo "$1" >"{own}" && ln "{own}" {PROCESS_ID_FILENAME}',
        f'        rm -f "{own}"',
        "    fi",
        # An older output is that of an earlier submission.
        f"    grep -q end_time {OUT_FILENAME} && [ ! {OUT_FILENAME} -ot {PROCESS_ID_FILENAME} ] && exit 0",
        f'    read -r id <{PROCESS_ID_FILENAME} && [ "${{id%%[!0-9]*}}" != "${{1%%[!0-9]*}}" ]',
        ") 2>/dev/null",
        f'if [ -n "${{{id_variable}:-}}" ] && jfr_mp_is_superfluous "${id_variable}"; then',
        f'    echo "jfr-mp: job ${id_variable} does nothing: it has run, or another one runs in its place" >&2',
        "    exit 0",
        "fi",
    ]
