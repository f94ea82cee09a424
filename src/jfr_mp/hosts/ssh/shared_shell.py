"""Commands of several threads in one shell of a host, one after the other: two round trips for all, not for each.

What goes to the standard input of the shell is a script of its own and then the inputs of the commands. A separator
follows each of them. The shell reads it before it goes on, so that no command can get a part of the input of another
one, even if the ``head`` of the host takes more than it was told to.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jfr_mp.errors import CommandTimeout, HostError
from jfr_mp.hosts.base import HostPath
from jfr_mp.hosts.quoting import quote
from jfr_mp.hosts.ssh.grouping import Grouping
from jfr_mp.hosts.ssh.interface import Output
from jfr_mp.hosts.ssh.remote_commands import RemoteCommands

#: The maximum number of commands in one shell.
MOST = 16
#: Runs as many bytes ($1) of the standard input as a script.
_SHELL = ["/bin/sh", "-c", 'eval "$(head -c "$1")"', "jfr-mp"]


@dataclass(frozen=True)
class SharedCommand:
    """A command that may run in one shell with others.

    Parameters
    ----------
    argv, cwd, timeout, stdin
        As for `jfr_mp.hosts.base.BaseHost.run`.
    """

    argv: Sequence[str]
    cwd: HostPath | None = None
    timeout: float | None = None
    stdin: bytes = b""


class SharedShell:
    """Runs commands that wait for one another in one shell.

    Parameters
    ----------
    commands
        Runs the shell, and the commands that have to run alone.
    idempotent
        Whether each command may run twice: one without a result then runs again, alone.
    plain
        Whether the commands need nothing of what the user's shell sets up.
    """

    def __init__(self, commands: RemoteCommands, *, idempotent: bool, plain: bool) -> None:
        self._commands = commands
        self._idempotent = idempotent
        self._plain = plain
        self._grouping: Grouping[SharedCommand, Output | None] = Grouping(self._run, MOST)

    def execute(self, command: SharedCommand) -> Output:
        """Run a command, perhaps with those of other threads; the errors are those of `RemoteCommands.execute`."""
        output = self._grouping.ask(command)
        return self._alone(command) if output is None else output

    def _run(self, group: Sequence[SharedCommand]) -> list[Output | Exception | None]:
        """Run a group; None stands for a command that has to run alone."""
        if len(group) == 1:
            return [self._alone(group[0])]
        mark = f"jfr-mp-{secrets.token_hex(8)}"
        script = "\n".join(_lines(group, mark)).encode()
        separator = f"{mark}\n".encode()
        stdin = separator.join([script, *(each.stdin for each in group if each.stdin), b""])
        limits = [each.timeout or self._commands.timeout for each in group]
        try:
            output = self._commands.execute(
                [*_SHELL, str(len(script))],
                stdin=stdin,
                timeout=max(limits) if self._idempotent else sum(limits),
                idempotent=self._idempotent,
                plain=self._plain,
            )
        except CommandTimeout:
            if not self._idempotent:
                raise
            return [None] * len(group)
        return self._results(group, output, mark)

    def _alone(self, command: SharedCommand) -> Output:
        return self._commands.execute(
            command.argv,
            cwd=command.cwd,
            timeout=command.timeout,
            stdin=command.stdin,
            idempotent=self._idempotent,
            plain=self._plain,
        )

    def _results(self, group: Sequence[SharedCommand], output: Output, mark: str) -> list[Output | Exception | None]:
        """Return what each command printed, and how it ended."""
        frame = re.compile(rb"%s begins\n(.*?)\n%s (\d+|-)\n" % (mark.encode(), mark.encode()), re.DOTALL)
        errors = output.stderr.split(f"\n{mark}\n".encode())
        results: list[Output | Exception | None] = []
        rest = output.stdout
        for number, command in enumerate(group):
            if (found := frame.match(rest)) and number < len(errors) - 1:
                rest = rest[found.end() :]
                # Its directory could not be entered, so that nothing ran.
                ran = found[2] != b"-"
                results.append(Output(found[1], errors[number], int(found[2])) if ran else None)
            elif rest.startswith(mark.encode()) and not self._idempotent:
                rest = b""
                why = f"the shell ended before {command.argv[0]} did; whether it ran on the host is not known"
                results.append(HostError(f"{self._commands.name}: {why}"))
            else:
                rest = b""
                results.append(None)
        return results


def _lines(group: Sequence[SharedCommand], mark: str) -> Iterator[str]:
    """Yield the lines of the script that runs a group."""
    yield f'next() {{ IFS= read -r line && test "$line" = {mark} || exit 0; }}'
    yield "next"
    for each in group:
        yield f"echo {mark} begins"
        yield from _run_one(each)
        yield f"echo; echo {mark} $code; {{ echo; echo {mark}; }} >&2"
        if each.stdin:
            yield "next"
    yield ""


def _run_one(each: SharedCommand) -> Iterator[str]:
    """Yield the lines that run a command and set `code`: to a minus sign if its directory cannot be entered."""
    directory = quote(["." if each.cwd is None else each.cwd])
    command = f"(cd {directory} && exec {quote(each.argv)})"
    taken = f"head -c {len(each.stdin)}"
    yield f"if (cd {directory}) 2>/dev/null; then"
    if each.stdin:
        # What the command does not read has to be read all the same.
        yield f"{taken} | {{ {command}; code=$?; cat >/dev/null; exit $code; }}"
    else:
        yield f"{command} </dev/null"
    yield "code=$?"
    yield f"else {taken} >/dev/null; code=-" if each.stdin else "else code=-"
    yield "fi"
