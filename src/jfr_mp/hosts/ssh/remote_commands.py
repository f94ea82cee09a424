"""Commands on a host that is reached by SSH."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable
from jfr_mp.hosts.base import HostPath
from jfr_mp.hosts.file_errors import reason_in
from jfr_mp.hosts.quoting import one_word, quote
from jfr_mp.hosts.ssh.interface import CommandSession, Output, RemoteCommand, TookTooLong
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.watchdog import Watchdog

#: Seconds that the command may take which kills one that took too long.
_KILL_LIMIT = 5.0


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
        Whether the variables are exported in front of the commands instead of sent as requests.
    timeout
        Seconds that a command may take by default.
    sanitize
        Whether to remove what the user's shell prints after a command, too; see `RemoteCommands`.
    """

    command: str | None = "bash"
    login: bool = True
    environment: Mapping[str, str] | None = None
    inline: bool = False
    timeout: float = 60.0
    sanitize: bool = False

    @property
    def shell(self) -> str:
        """The command line of the shell."""
        return f"{self.command}{' -l' if self.login else ''}" if self.command else "/bin/sh"

    def plain(self) -> ShellOptions:
        """Return the options for scripts that need nothing of what a login shell sets up."""
        return ShellOptions(command=None, timeout=self.timeout, sanitize=self.sanitize)


class RemoteCommands:
    """Runs commands over a link.

    Every command is framed: the shell prints a mark to standard output and standard error before the command begins.
    What came before the mark, such as the banner of a login shell, is not part of the command's output. The shell then
    becomes the command (``exec``), so that it prints nothing afterwards.

    The shell that sshd itself starts may still print something afterwards, for example by a trap in ``~/.bashrc``. If
    the worker has `sanitize_command`, the command runs in a subshell and a second mark follows it; a command that a
    signal killed then has the exit code 128 + signal.

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
        token = secrets.token_hex(8)
        self._mark, self._end = f"jfr-mp-{token}", f"jfr-mp-end-{token}"

    @property
    def name(self) -> str:
        """The name of the host in messages."""
        return self._link.name

    @property
    def timeout(self) -> float:
        """The seconds that a command may take by default."""
        return self._options.timeout

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
            Whether the command needs nothing of what the user's shell sets up.

        Raises
        ------
        HostUnreachable
            The connection could not be made or broke. A command that is not idempotent may have run then.
        CommandTimeout
            The command took too long and was killed.
        HostError
            There is no such directory, or the shell does not run.
        """
        options = self._options.plain() if plain else self._options
        if timeout is not None:
            options = replace(options, timeout=timeout)
        command = RemoteCommand(
            self._command_line(argv, cwd, options),
            options.timeout,
            stdin or b"",
            None if options.inline else options.environment,
        )
        try:
            raw = self._run(argv[0], command, idempotent=idempotent)
        except TookTooLong as late:
            self._kill(late.printed)
            why = f"{self._link.name}: {argv[0]} did not end within {options.timeout:g} s"
            if self._behind_mark(late.printed)[0] is None:
                why += f": the shell {options.command or 'of the user'!r} did not start; a start-up file may hang"
            raise CommandTimeout(why) from None
        return self._unframed(raw, argv, cwd)

    def _run(self, name: str, command: RemoteCommand, *, idempotent: bool) -> Output:
        """Run a command line once, or twice if the connection breaks and that does no harm."""
        started = False

        def work(session: CommandSession, watchdog: Watchdog) -> Output:
            nonlocal started
            started = True
            return session.run(command, watchdog.progress)

        try:
            return self._link.with_commands(work, may_repeat=lambda: idempotent or not started)
        except HostUnreachable as error:
            if started and not idempotent:
                raise type(error)(f"{error}; whether {name} ran on the host is not known") from error
            raise

    def _command_line(self, argv: Sequence[str], cwd: HostPath | None, options: ShellOptions) -> str:
        """Return what sshd hands to the user's shell: the worker's shell, the marks, the command."""
        end = f"echo {self._end}; echo {self._end} >&2; " if options.sanitize else ""
        lines = []
        if options.environment and options.inline:
            lines.append(quote(["export", *(f"{name}={value}" for name, value in options.environment.items())]))
        if cwd is not None:
            lines.append(f"cd {quote([cwd])} || {{ echo {self._mark} -; {end}exit 1; }}")
        lines.append(f"echo {self._mark} $$; echo {self._mark} >&2")
        command = f"exec {quote(argv)}"
        lines.append(f"({command}); code=$?; {end}exit $code" if options.sanitize else command)
        return f"{options.shell} -c {one_word('; '.join(lines))}"

    def _unframed(self, raw: Output, argv: Sequence[str], cwd: HostPath | None) -> Output:
        """Return what the command itself printed."""
        name = self._link.name
        pid, stdout = self._behind_mark(raw.stdout)
        stdout, stderr = self._before_end(stdout), self._before_end(raw.stderr)
        if pid is None:
            said = reason_in(raw.stderr.decode(errors="replace")) or f"exit code {raw.returncode}"
            raise HostError(f"{name}: the shell {self._options.command or 'of the user'!r} runs no commands: {said}")
        if pid == "-":
            reason = reason_in(stderr.decode(errors="replace"))
            missing = "there is no such directory" if "No such file" in reason else reason
            raise HostError(f"{name}: cannot run {argv[0]} in {cwd}: {missing}")
        _, mark, rest = stderr.partition(f"{self._mark}\n".encode())
        return Output(stdout, rest if mark else stderr, raw.returncode)

    def _behind_mark(self, printed: bytes) -> tuple[str | None, bytes]:
        """Return what stands beside the mark, or None if there is no mark, and what follows."""
        _, mark, rest = printed.partition(f"{self._mark} ".encode())
        pid, end, output = rest.partition(b"\n")
        return (pid.decode() if mark and end else None), output

    def _before_end(self, printed: bytes) -> bytes:
        """Return what stands before the second mark, or all if there is none."""
        before, mark, _ = printed.rpartition(f"{self._end}\n".encode())
        return before if mark else printed

    def _kill(self, printed: bytes) -> None:
        """Kill a command with all processes that it started, as far as they are known and the host still answers."""
        pid, _ = self._behind_mark(printed)
        if pid is None or not pid.isdigit():
            return
        script = f"group=$(ps -o pgid= -p {pid}) && kill -s KILL -- -$((group))"
        command = RemoteCommand(f"/bin/sh -c {one_word(script)}", _KILL_LIMIT)

        def work(session: CommandSession, watchdog: Watchdog) -> None:
            session.run(command, watchdog.progress)

        try:
            self._link.with_commands(work, may_repeat=lambda: False, patience=_KILL_LIMIT)
        except TookTooLong:
            # The host answers, but its shell does not start.
            return
