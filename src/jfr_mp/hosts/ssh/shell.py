"""Commands on a host that is reached by SSH."""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paramiko import Channel

from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable
from jfr_mp.hosts.base import HostPath
from jfr_mp.hosts.faults import reason_in
from jfr_mp.hosts.quoting import one_word, quote
from jfr_mp.hosts.ssh.session_pool import Link
from jfr_mp.hosts.ssh.watchdog import Watchdog

#: Bytes that are read or sent at a time.
_BLOCK = 32768
#: Seconds between two looks at whether the host takes more of the input.
_GLANCE = 0.01
#: Seconds for which ending a command that took too long may take.
_KILL_PATIENCE = 5.0


@dataclass(frozen=True)
class Output:
    """What a command printed and how it ended."""

    stdout: bytes
    stderr: bytes
    returncode: int


@dataclass(frozen=True)
class ShellOptions:
    """How a host wants its commands.

    Parameters
    ----------
    command
        The shell that runs them; None for a plain sh.
    login
        Whether that is a login shell.
    environment
        Variables for the commands.
    inline
        Whether the variables are exported in front of the commands, rather than sent as requests.
    timeout
        Seconds that a command may take, where nobody says anything else.
    """

    command: str | None = "bash"
    login: bool = True
    environment: Mapping[str, str] | None = None
    inline: bool = False
    timeout: float = 60.0


#: The shell for our own scripts, which need nothing of what a login shell sets up.
PLAIN = ShellOptions(command=None)


class RemoteShell:
    """Runs commands over a link.

    Every command is framed: the shell prints a mark before it begins, and what it printed before that mark, such as the
    banner of a login shell, is none of the command's output.

    Parameters
    ----------
    link
        The way to the host.
    options
        How the host wants its commands.
    """

    def __init__(self, link: Link, options: ShellOptions) -> None:
        self._link = link
        self._options = options
        self._mark = f"jfr-mp-{secrets.token_hex(8)}"

    def execute(
        self,
        argv: Sequence[str],
        *,
        cwd: HostPath | None = None,
        timeout: float | None = None,
        stdin: bytes | None = None,
        idempotent: bool = False,
        plain: bool = False,
    ) -> Output:
        """Run a command.

        Parameters
        ----------
        argv, cwd, timeout, stdin, idempotent
            As for `BaseHost.run`.
        plain
            Whether the command needs none of what the user's shell sets up.

        Raises
        ------
        HostUnreachable
            The connection could not be made or broke. A command that is not idempotent may have run then.
        CommandTimeout
            The command took too long and was ended.
        HostError
            There is no such directory, or the shell does not run.
        """
        options = PLAIN if plain else self._options
        limit = timeout if timeout is not None else self._options.timeout
        command = self._command_line(argv, cwd, options)
        started = False

        def work(channel: Channel, watchdog: Watchdog) -> Output:
            nonlocal started
            if options.environment and not options.inline:
                channel.update_environment(dict(options.environment))
            started = True
            channel.exec_command(command)
            return self._converse(channel, stdin or b"", limit, watchdog)

        try:
            raw = self._link.with_session(work, may_repeat=lambda: idempotent or not started)
        except HostUnreachable as error:
            if started and not idempotent:
                raise type(error)(f"{error}; whether {argv[0]} ran on the host is not known") from error
            raise
        except _TookTooLong as late:
            self._kill(late.printed)
            why = f"{self._link.name}: {argv[0]} did not end within {limit:g} s"
            if self._behind_mark(late.printed)[0] is None:
                shell = options.command or "of the user"
                why += f": the shell {shell!r} did not even come up, one of its start-up files may hang"
            raise CommandTimeout(why) from None
        return self._unframed(raw, argv, cwd)

    def _command_line(self, argv: Sequence[str], cwd: HostPath | None, options: ShellOptions) -> str:
        """Return what sshd hands to the user's shell: our shell, our mark, the command."""
        lines = []
        if options.environment and options.inline:
            lines.append(quote(["export", *(f"{name}={value}" for name, value in options.environment.items())]))
        if cwd is not None:
            lines.append(f"cd {quote([cwd])} || {{ echo {self._mark} -; exit 1; }}")
        lines.append(f"echo {self._mark} $$; echo {self._mark} >&2")
        lines.append(f"exec {quote(argv)}")
        shell = f"{options.command}{' -l' if options.login else ''}" if options.command else "/bin/sh"
        return f"{shell} -c {one_word('; '.join(lines))}"

    def _unframed(self, raw: Output, argv: Sequence[str], cwd: HostPath | None) -> Output:
        """Return what the command itself printed."""
        name = self._link.name
        pid, stdout = self._behind_mark(raw.stdout)
        if pid is None:
            said = reason_in(raw.stderr.decode(errors="replace")) or f"exit code {raw.returncode}"
            raise HostError(f"{name}: the shell {self._options.command or 'of the user'!r} runs no commands: {said}")
        if pid == "-":
            reason = reason_in(raw.stderr.decode(errors="replace"))
            missing = "there is no such directory" if "No such file" in reason else reason
            raise HostError(f"{name}: cannot run {argv[0]} in {cwd}: {missing}")
        _, mark, stderr = raw.stderr.partition(f"{self._mark}\n".encode())
        return Output(stdout, stderr if mark else raw.stderr, raw.returncode)

    def _behind_mark(self, printed: bytes) -> tuple[str | None, bytes]:
        """Return what stands beside the mark, or None where there is no mark, and what follows."""
        _, mark, rest = printed.partition(f"{self._mark} ".encode())
        pid, end, output = rest.partition(b"\n")
        return (pid.decode() if mark and end else None), output

    def _converse(self, channel: Channel, stdin: bytes, limit: float, watchdog: Watchdog) -> Output:
        """Send the input of a command and collect its output."""
        deadline = time.monotonic() + limit
        stdout, stderr = bytearray(), bytearray()
        sent = 0
        arrivals = select.poll()
        arrivals.register(channel.fileno(), select.POLLIN)
        if not stdin:
            channel.shutdown_write()
        while True:
            watchdog.progress()
            # Looked at before the last of the output is taken, or something could come in between.
            ended = channel.closed or (channel.eof_received and channel.exit_status_ready())
            _take(channel, stdout, stderr)
            if ended:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                raise _TookTooLong(bytes(stdout))
            if sent < len(stdin) and channel.send_ready():
                sent += channel.send(stdin[sent : sent + _BLOCK])
                if sent == len(stdin):
                    channel.shutdown_write()
            elif channel.eof_received:
                channel.status_event.wait(left)
            else:
                pause = _GLANCE if sent < len(stdin) else watchdog.patience / 2
                arrivals.poll(1000 * min(left, pause))
        if channel.exit_status < 0:
            # A signal has ended the command, or the connection is no more; only in the first case is this possible.
            channel.get_transport().open_session().close()
        return Output(bytes(stdout), bytes(stderr), channel.exit_status)

    def _kill(self, printed: bytes) -> None:
        """End a command, with all that it started, as far as it is known and the host still answers."""
        pid, _ = self._behind_mark(printed)
        if pid is None or not pid.isdigit():
            return
        script = f"group=$(ps -o pgid= -p {pid}) && kill -s KILL -- -$((group))"

        def work(channel: Channel, _watchdog: Watchdog) -> None:
            channel.exec_command(f"/bin/sh -c {one_word(script)}")
            channel.status_event.wait(_KILL_PATIENCE)

        self._link.with_session(work, may_repeat=lambda: False, patience=_KILL_PATIENCE)


def _take(channel: Channel, stdout: bytearray, stderr: bytearray) -> None:
    """Append what has arrived."""
    while channel.recv_ready():
        stdout += channel.recv(_BLOCK)
    while channel.recv_stderr_ready():
        stderr += channel.recv_stderr(_BLOCK)


class _TookTooLong(Exception):
    """A command has not ended in time; it has printed this until then."""

    def __init__(self, printed: bytes) -> None:
        super().__init__()
        self.printed = printed
