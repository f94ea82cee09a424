"""One authenticated SSH connection, and how it comes about."""

from __future__ import annotations

import inspect
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
from paramiko import AutoAddPolicy, Channel, PKey, SFTPClient, SSHClient, Transport
from paramiko.agent import Agent, AgentKey, AgentRequestHandler
from paramiko.ssh_exception import (
    BadAuthenticationType,
    ChannelException,
    NoValidConnectionsError,
    SSHException,
)

from jfr_mp.errors import ConfigError, HostError, HostUnreachable
from jfr_mp.hosts.login.prompting import AskingTransport
from jfr_mp.hosts.ssh.config import Endpoint, public_half
from jfr_mp.hosts.ssh.known_hosts import KnownHosts
from jfr_mp.hosts.ssh.proxy import ProxyProcess, Tunnel

if TYPE_CHECKING:
    from jfr_mp.hosts.login.sharing import Answer

# What it has to say arrives as exceptions, too; its own log shows tracebacks for a host that is merely away.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

#: Seconds for the host to judge a login: directories of users can be slow.
_LOGIN_TIMEOUT = 30.0
#: Arguments of paramiko's `connect` that are not for the project file.
_OURS = {"self", "hostname", "sock", "transport_factory"}


class Connection(Protocol):
    """What the rest of `hosts` needs of a connection, whoever has logged in and in whichever process."""

    @property
    def keeps_sessions(self) -> bool:
        """Whether a session that nobody uses now may be kept for later."""

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""

    def session(self) -> AbstractContextManager[Channel]:
        """Lend a channel for one command."""

    def open_sftp(self) -> SFTPClient:
        """Open a channel for files; HostError where the host offers no SFTP."""

    def close(self) -> None:
        """Close the connection with everything that is open on it. Never waits long."""


class SshConnection:
    """A connection of this process.

    Parameters
    ----------
    endpoint
        Where it goes.
    client
        Logged in there.
    below
        What the connection stands on, closed after it.
    """

    keeps_sessions = True

    def __init__(self, endpoint: Endpoint, client: SSHClient, below: ExitStack) -> None:
        self._endpoint = endpoint
        self._client = client
        self._below = below
        self._closing = threading.Lock()
        transport = client.get_transport()
        assert transport is not None
        self.transport = transport
        transport.set_keepalive(endpoint.keepalive)

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self.transport.is_active()

    @contextmanager
    def session(self) -> Iterator[Channel]:
        """Lend a channel for one command, which may use the SSH agent where that is wanted."""
        channel = self._open_session()
        with ExitStack() as open_ones:
            if self._endpoint.forward_agent:
                open_ones.enter_context(closing(AgentRequestHandler(channel)))
            yield open_ones.enter_context(channel)

    def open_sftp(self) -> SFTPClient:
        """Open a channel for files."""
        return SFTPClient(self.sftp_channel())

    def sftp_channel(self) -> Channel:
        """Open a channel on which the host speaks SFTP."""
        channel = self._open_session()
        try:
            channel.invoke_subsystem("sftp")
        except SSHException as error:
            if not self.is_alive:
                raise
            raise HostError(
                f"{self._endpoint}: the host offers no SFTP ({error}): a worker of type 'separated_transfer' can send "
                "the files through another host",
                permanent=True,
            ) from error
        return channel

    def close(self) -> None:
        """Close the connection and what it stands on."""
        with self._closing:
            self._client.close()
            self._below.close()

    def _open_session(self) -> Channel:
        try:
            return self.transport.open_session()
        except SSHException as error:
            # Where several are refused at the same time, paramiko gives the reason to one and this text to the others.
            refused = isinstance(error, ChannelException) or str(error) == "Unable to open channel."
            if not refused or not self.is_alive:
                raise
            raise HostUnreachable(f"{self._endpoint}: the host allows no further session on this connection") from error


def connect(endpoint: Endpoint, known_hosts: Path | None, answer: Answer | None = None) -> SshConnection:
    """Connect and log in, through gateways where there are any.

    Parameters
    ----------
    endpoint
        Where to.
    known_hosts
        Where the keys of new hosts are recorded; None to refuse new hosts.
    answer
        Asks a person whatever the hosts on the way want to know; None where there is nobody.

    Raises
    ------
    HostUnreachable
        Not possible now; says why in one line.
    ConfigError
        The project file asks for something that does not exist.
    """
    with ExitStack() as below:
        sock = _reach(endpoint, known_hosts, below, answer)
        client = _log_in(endpoint, sock, KnownHosts(endpoint.known_hosts, known_hosts), answer)
        return SshConnection(endpoint, client, below.pop_all())


def _reach(endpoint: Endpoint, known_hosts: Path | None, below: ExitStack, answer: Answer | None) -> Any:
    """Return something like a socket that leads to the host."""
    address = (endpoint.host, endpoint.port)
    try:
        if endpoint.gateway:
            gateway = _gateway(endpoint, endpoint.gateway, known_hosts, answer)
            below.callback(gateway.close)
            near = ("127.0.0.1", 0)
            return Tunnel(gateway.transport.open_channel("direct-tcpip", address, near, timeout=endpoint.timeout))
        if endpoint.proxy_command:
            proxy = ProxyProcess(endpoint.proxy_command)
            below.callback(proxy.close)
            return proxy.socket
        sock = socket.create_connection(address, timeout=endpoint.timeout)
        below.callback(sock.close)
        # Small requests must not wait for the acknowledgment of those before them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    except socket.gaierror as error:
        raise HostUnreachable(f"{endpoint}: there is no host of that name ({error.strerror})") from error
    except TimeoutError as error:
        raise HostUnreachable(f"{endpoint}: no answer within {endpoint.timeout:g} s") from error
    except ChannelException as error:
        raise HostUnreachable(f"{endpoint}: the gateway {endpoint.gateway} cannot reach it: {error.text}") from error
    except (OSError, SSHException, EOFError) as error:
        raise HostUnreachable(f"{endpoint}: {_text(error)}") from error


def _gateway(endpoint: Endpoint, gateway: Endpoint, known_hosts: Path | None, answer: Answer | None) -> SshConnection:
    """Connect to the gateway of a host."""
    try:
        return connect(gateway, known_hosts, answer)
    except HostUnreachable as error:
        raise type(error)(f"{endpoint}: its gateway {error}") from error


def _log_in(endpoint: Endpoint, sock: Any, known_hosts: KnownHosts, answer: Answer | None) -> SSHClient:
    """Verify the host and log in."""
    verified = False

    class Policy(AutoAddPolicy):
        """Asks us; paramiko's own table of host keys stays empty."""

        def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
            nonlocal verified
            known_hosts.verify(endpoint.key_name, key, record=endpoint.record_new_keys)
            verified = True

    def transport(sock: Any, **options: Any) -> Transport:
        """Ask the host for a key of a type that we know."""
        made = AskingTransport(sock, str(endpoint), answer, **options) if answer else Transport(sock, **options)
        security = made.get_security_options()
        known = set(known_hosts.key_types(endpoint.key_name))
        security.key_types = sorted(security.key_types, key=lambda kind: _plain(kind) not in known)
        return made

    client = SSHClient()
    client.set_missing_host_key_policy(Policy())
    with _agent() as keys, ExitStack() as undo:
        undo.callback(client.close)
        arguments = _arguments(endpoint)
        if answer:
            # A person is asked for it; as an answer to something else it could cost an attempt.
            arguments.update(password=None, passphrase=endpoint.passphrase or endpoint.password)
        if not endpoint.use_agent:
            arguments.setdefault("pkey", _named_key(endpoint, keys))
        began = time.monotonic()
        try:
            try:
                client.connect(endpoint.host, sock=sock, transport_factory=transport, **arguments)
            except SSHException:
                asking = client.get_transport()
                if not isinstance(asking, AskingTransport) or not asking.is_active():
                    raise
                asking.ask(endpoint.user)
        except (SSHException, OSError, EOFError, ValueError) as error:
            # Each kind of damaged key raises something else.
            why = (
                _refusal(endpoint, keys, error, asked=answer is not None)
                if verified
                else _no_greeting(endpoint, error, time.monotonic() - began)
            )
            raise HostUnreachable(f"{endpoint}: {why}") from error
        undo.pop_all()
    return client


def _arguments(endpoint: Endpoint) -> dict[str, Any]:
    """Return what paramiko is to log in with."""
    known = inspect.signature(SSHClient.connect).parameters.keys() - _OURS
    unknown = endpoint.options.keys() - known
    if unknown:
        raise ConfigError(
            f"connect_kwargs of {endpoint}: {sorted(unknown)[0]!r} is nothing that paramiko's SSHClient.connect takes"
        )
    for path in endpoint.key_files:
        if not path.exists() and not public_half(path).exists():
            raise HostUnreachable(f"{endpoint}: there is no key file {path}")
    return {
        "port": endpoint.port,
        "username": endpoint.user,
        "password": endpoint.password,
        "passphrase": endpoint.passphrase,
        # Of a key that the agent holds, there may be the public half alone.
        "key_filename": [str(path) for path in endpoint.key_files if path.exists() and path != public_half(path)],
        "allow_agent": endpoint.use_agent,
        "look_for_keys": endpoint.use_default_keys,
        "timeout": endpoint.timeout,
        "banner_timeout": endpoint.timeout,
        "auth_timeout": max(_LOGIN_TIMEOUT, endpoint.timeout),
        "channel_timeout": max(_LOGIN_TIMEOUT, endpoint.timeout),
        **endpoint.options,
    }


@contextmanager
def _agent() -> Iterator[tuple[AgentKey, ...]]:
    """Lend the keys of the SSH agent; one that does not answer as it should has none."""
    with ExitStack() as open_ones:
        try:
            keys = open_ones.enter_context(closing(Agent())).get_keys()
        except (SSHException, OSError):
            keys = ()
        yield keys


def _named_key(endpoint: Endpoint, keys: Iterable[AgentKey]) -> AgentKey | None:
    """Return the SSH agent's key that a key file names: with IdentitiesOnly, the agent may use those alone."""
    public = [public_half(path) for path in endpoint.key_files]
    wanted = [path.read_text().split()[1] for path in public if path.exists()]
    held = {key.get_base64(): key for key in keys}
    return next((held[key] for key in wanted if key in held), None)


def _no_greeting(endpoint: Endpoint, error: Exception, waited: float) -> str:
    """Say why a host did not even show its key."""
    if waited >= endpoint.timeout:
        # What paramiko says then depends on which of its timers was first.
        return f"it takes the connection and then says nothing for {endpoint.timeout:g} s: overloaded, or no SSH server"
    return f"no connection: {_text(error)}"


def _refusal(endpoint: Endpoint, keys: Sequence[AgentKey], error: Exception, *, asked: bool) -> str:
    """Say what was tried in vain."""
    tried = []
    for path in endpoint.key_files:
        fault = _key_fault(path, endpoint.passphrase or endpoint.password)
        tried.append(f"key {path}" + (f" ({fault})" if fault else ""))
    if endpoint.use_agent:
        tried.append(f"{len(keys) or 'no'} keys of the SSH agent")
    if endpoint.use_default_keys:
        tried.append("the usual keys in ~/.ssh")
    if asked:
        tried.append("what you typed")
    elif endpoint.password:
        tried.append("the password")
    allowed = f"; it accepts {', '.join(error.allowed_types)}" if isinstance(error, BadAuthenticationType) else ""
    return f"login refused{allowed}; tried {', '.join(tried) or 'nothing'}"


def _key_fault(path: Path, passphrase: str | None) -> str | None:
    """Tell why a key file cannot be used, or None."""
    try:
        content = path.read_bytes()
        load = load_ssh_private_key if b"BEGIN OPENSSH" in content else load_pem_private_key
        load(content, passphrase.encode() if passphrase else None)
    except TypeError:
        # Also raised for a passphrase where none is needed, which is no fault here.
        return None if passphrase else "needs a passphrase"
    except OSError as error:
        return error.strerror
    except (ValueError, UnsupportedAlgorithm):
        return "wrong passphrase, or no private key" if passphrase else "no private key"
    return None


def _plain(kind: str) -> str:
    """Return the type of key that known_hosts has for an algorithm."""
    return "ssh-rsa" if kind.startswith("rsa-sha2-") else kind


def _text(error: BaseException) -> str:
    """Return one line about an error."""
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
