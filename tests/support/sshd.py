"""Real OpenSSH servers on the loopback interface, in throwaway directories, that leave the user's files alone."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.support.processes import ROOT, free_port, wait_gone
from tests.support.waiting import wait_until

SSHD = "/usr/sbin/sshd"
HOST = "127.0.0.1"

_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {directory}/host_ed25519
PidFile {directory}/sshd.pid
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
PermitRootLogin yes
AllowTcpForwarding yes
AllowAgentForwarding yes
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 200:30:400
LogLevel VERBOSE
AcceptEnv JFR_MP_TEST_*
SetEnv {environment}
Subsystem sftp internal-sftp
"""
_PUBLIC_KEY = """\
UsePAM no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
#: sshd asks the PAM service of its own program name. Ours asks for a secret and looks whether a file has it.
_PAM = """\
auth required pam_exec.so quiet expose_authtok {directory}/check_secret
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
"""
_CHECK_SECRET = """\
#!/bin/sh
secret=$(tr -d '\\0')
grep -qxF -- "$secret" '{directory}/secrets' || exit 1
if test -e '{directory}/once'; then
    grep -vxF -- "$secret" '{directory}/secrets' > '{directory}/secrets.left'
    mv '{directory}/secrets.left' '{directory}/secrets'
fi
"""


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    """Make a private key, and the public one beside it."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public_key(path: Path) -> str:
    """Return the type and the public half of a key, as known_hosts has them."""
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


def _is_sshd(process: psutil.Process) -> bool:
    try:
        return "sshd" in process.name()
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return False


class Sshd:
    """An sshd that can be stopped, killed and started again on the same port with the same host key.

    Parameters
    ----------
    directory
        For its configuration, its log and the HOME of those who log in.
    config
        Further lines of its configuration.
    environment
        Variables that its sessions have.
    prefix
        A command that runs the server, for instance in a network namespace.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: str = _PUBLIC_KEY,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.host = HOST
        self.port = free_port()
        self.user = getpass.getuser()
        self.home = directory / "home"
        self.program = SSHD
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        self.key = make_key(directory / "client_ed25519")
        self.host_key = make_key(directory / "host_ed25519")
        self.authorize(self.key)
        variables = {"HOME": str(self.home), **(environment or {})}
        heading = _CONFIG.format(
            port=self.port,
            host=HOST,
            directory=directory,
            environment=" ".join(f'"{name}={value}"' for name, value in variables.items()),
        )
        (directory / "sshd_config").write_text(heading + config)

    @property
    def log(self) -> str:
        """What the server has logged."""
        path = self.directory / "sshd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def logins(self) -> int:
        """How often somebody has logged in."""
        return len(re.findall(r"Accepted \S+ for ", self.log))

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None, "this sshd is stopped"
        return self._process.pid

    @property
    def sessions(self) -> list[psutil.Process]:
        """The processes that serve those who are logged in, and what runs there."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    @property
    def address(self) -> dict[str, Any]:
        """How to log in, as a gateway or a transfer host of a project file has it."""
        return {"host": self.host, "port": self.port, "user": self.user, "key_filename": str(self.key)}

    def worker(self, work_dir: Path, **fields: Any) -> dict[str, Any]:
        """Return a remote worker on this server, as a project file has it."""
        return {"type": "remote", "scheduler_type": "shell", "work_dir": str(work_dir), **self.address, **fields}

    def offer_jfr_mp(self, *, path: Path | None = None, **variables: str) -> None:
        """Let login shells find jfr-mp and the jobs of the tests.

        Parameters
        ----------
        path
            A directory with further commands.
        variables
            Further environment variables.
        """
        directories = [path, Path(sys.executable).parent, os.environ["PATH"]]
        self.export(PATH=":".join(str(directory) for directory in directories if directory), **variables)

    def export(self, **variables: str) -> None:
        """Set environment variables in login shells, and let them find the jobs of the tests."""
        variables |= {"PYTHONPATH": str(ROOT)}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        (self.home / ".bash_profile").write_text(exports)

    def authorize(self, *keys: Path) -> None:
        """Let the owners of these keys in, and nobody else."""
        lines = [key.with_name(f"{key.name}.pub").read_text() for key in keys]
        (self.directory / "authorized_keys").write_text("".join(lines))

    def change_host_key(self) -> None:
        """Have another host key from the next start on."""
        for path in (self.host_key, self.host_key.with_name(f"{self.host_key.name}.pub")):
            path.unlink()
        make_key(self.host_key)

    def certify(self, authority: Path, *options: str) -> None:
        """Start again with a certificate for the host key.

        Parameters
        ----------
        authority
            The private key of the certificate authority.
        options
            Options of ssh-keygen: ``-h`` for a host, ``-n NAMES``, ``-V VALIDITY``.
        """
        public = self.host_key.with_name(f"{self.host_key.name}.pub")
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", *options, str(public)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.reconfigure(HostCertificate=str(self.host_key.with_name(f"{self.host_key.name}-cert.pub")))

    def known_hosts_line(self) -> str:
        """Return the line of known_hosts for this server."""
        return f"[{self.host}]:{self.port} {public_key(self.host_key)}\n"

    def reconfigure(self, **options: str) -> None:
        """Start again with these lines in the place of those that the configuration has for the same options."""
        self.stop()
        config = self.directory / "sshd_config"
        lines = [line for line in config.read_text().splitlines() if line.split()[0] not in options]
        config.write_text("\n".join([*(f"{name} {value}" for name, value in options.items()), *lines, ""]))
        self.start()

    def start(self) -> None:
        """Start the server and return when it listens."""
        assert self._process is None, "this sshd runs already"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        wait_until(self._starts, 20, f"sshd on port {self.port}")

    def command(self, mode: str) -> list[str]:
        """Return the command of the server, whose program has to be an absolute path."""
        return [self.program, mode, "-f", str(self.directory / "sshd_config"), "-E", str(self.directory / "sshd.log")]

    def break_connections(self) -> None:
        """Break all connections; what runs in their sessions goes on, and new ones are accepted."""
        _kill([process for process in self.sessions if "sshd" in process.name()])

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Do nothing and say nothing until the end of the context: neither the server nor those who are logged in."""
        frozen: list[psutil.Process] = []
        for process in [psutil.Process(self.pid), *self.sessions]:
            with suppress(psutil.NoSuchProcess):  # a child of sshd ends as soon as the login is done
                process.suspend()
                frozen.append(process)
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextmanager
    def late_files(self) -> Iterator[None]:
        """Answer no request for files, of the connections of now and of those that come, until the end of the context.

        Commands run as usual.
        """
        stopped: list[psutil.Process] = []
        over = threading.Event()

        def stop_all() -> None:
            while not over.wait(0.05):
                for process in self.sessions:
                    with suppress(psutil.NoSuchProcess):
                        if process not in stopped and "internal-sftp" in " ".join(process.cmdline()):
                            process.suspend()
                            stopped.append(process)

        thread = threading.Thread(target=stop_all, name="late files")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill(self) -> None:
        """Die as in a crash, with all connections; what runs in their sessions goes on."""
        if self._process is not None:
            self._end([process for process in self.sessions if _is_sshd(process)])

    def stop(self) -> None:
        """End the server and all that runs in its sessions."""
        if self._process is not None:
            self._end(self.sessions)

    def _end(self, sessions: list[psutil.Process]) -> None:
        assert self._process is not None
        # First of all, so that nobody is let in who is not ended.
        self._process.kill()
        self._process.wait()
        self._process = None
        _kill(sessions)

    def _starts(self) -> bool:
        """Start the server; False if a process of an earlier one still holds the port."""
        before = len(self.log)
        self._process = subprocess.Popen(
            [*self._prefix, *self.command("-D")],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for pytest
        )
        listening = f"Server listening on {HOST} port {self.port}"
        process = self._process
        wait_until(lambda: process.poll() is not None or listening in self.log[before:], 20, "the answer of sshd")
        if process.poll() is None:
            return True
        self._process = None
        if "Address already in use" not in self.log[before:]:
            raise RuntimeError(f"sshd exited with code {process.returncode}:\n{self.log[before:]}")
        return False


class SecretSshd(Sshd):
    """An sshd that lets in whoever knows a secret instead of a key. It needs root, for a PAM service of its own.

    Parameters
    ----------
    directory
        As for `Sshd`.
    passwords
        Those that are right.
    interactive
        Whether the secret is asked for by keyboard-interactive, rather than by password.
    once
        Whether each secret is right once only, as one-time passwords are.
    """

    def __init__(self, directory: Path, *passwords: str, interactive: bool = False, once: bool = False) -> None:
        config = (
            "UsePAM yes\nPubkeyAuthentication no\n"
            f"PasswordAuthentication {'no' if interactive else 'yes'}\n"
            f"KbdInteractiveAuthentication {'yes' if interactive else 'no'}\n"
        )
        super().__init__(directory, config=config)
        check = directory / "check_secret"
        check.write_text(_CHECK_SECRET.format(directory=directory))
        check.chmod(0o755)
        (directory / "secrets").write_text("".join(f"{password}\n" for password in passwords))
        if once:
            (directory / "once").touch()
        program = directory / f"jfr-mp-test-sshd-{secrets.token_hex(4)}"
        program.symlink_to(SSHD)
        self.program = str(program)
        self._service = Path("/etc/pam.d", program.name)

    def start(self) -> None:
        """Start the server and return when it listens."""
        self._service.write_text(_PAM.format(directory=self.directory))
        super().start()

    def stop(self) -> None:
        """End the server."""
        super().stop()
        self._service.unlink(missing_ok=True)


class Namespace:
    """A network of its own, with a loopback interface and nothing else; it needs root."""

    def __init__(self) -> None:
        script = (
            "hostname localhost && ip link set lo up && ip addr add 127.0.0.2/8 dev lo && echo up && exec sleep inf"
        )
        self._process = subprocess.Popen(
            ["unshare", "-n", "-u", "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout:
            assert self._process.stdout.readline() == b"up\n", "no network namespace could be made"

    @property
    def pid(self) -> int:
        """A process in it, for as long as it is there."""
        return self._process.pid

    @property
    def enter(self) -> tuple[str, ...]:
        """What stands before a command that is to run there."""
        return ("nsenter", "-t", str(self._process.pid), "-n", "-u")

    def close(self) -> None:
        """Give it up."""
        self._process.kill()
        self._process.wait()


class Gateway(Sshd):
    """An sshd that listens on the ordinary loopback interface and whose sessions are in a namespace.

    Parameters
    ----------
    directory
        As for `Sshd`.
    namespace
        Where the hosts are that can be reached through it.
    """

    def __init__(self, directory: Path, namespace: Namespace) -> None:
        super().__init__(directory)
        self._namespace = namespace
        self._listener: socket.socket | None = None
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and end all sessions."""
        if self._listener is not None:
            # Closing alone does not wake the thread that waits there.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for server in self._servers:
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(server.pid).children(recursive=True):
                    process.kill()
            server.kill()
            server.wait()
        self._servers.clear()

    kill = stop

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted:
                self._servers.append(
                    subprocess.Popen(
                        [*self._namespace.enter, *self.command("-i")],
                        stdin=accepted.fileno(),
                        stdout=accepted.fileno(),
                        start_new_session=True,
                    )
                )


class Agent:
    """An SSH agent.

    Parameters
    ----------
    directory
        For its socket.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "agent.sock"
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(self.socket)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self.socket.exists, 20, "the SSH agent")

    def add(self, key: Path) -> None:
        """Hold a key that has no passphrase."""
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.socket)}
        subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, stdin=subprocess.DEVNULL)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_gone(process.pid for process in processes)


def connections(server: Sshd) -> Counter[int]:
    """Return how many TCP connections each process of this network has to a server now, by pid."""
    return Counter(
        socket.pid
        for socket in psutil.net_connections("tcp")
        if socket.raddr and socket.raddr.port == server.port and socket.pid and socket.status == psutil.CONN_ESTABLISHED
    )


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts and never says a word."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


Server = TypeVar("Server", bound=Sshd)


def running(server: Server) -> Iterator[Server]:
    """Start a server for as long as a fixture lives."""
    assert shutil.which(SSHD), f"{SSHD} is missing: scripts/test installs it (Debian: openssh-server)"
    try:
        server.start()
        yield server
    finally:
        server.stop()
