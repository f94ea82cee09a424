"""The login at a host: its key is verified, then the user's keys, agent, password or answers are tried."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
from paramiko import MissingHostKeyPolicy, PKey, SSHClient
from paramiko.agent import Agent, AgentKey
from paramiko.ssh_exception import BadAuthenticationType, SSHException

from jfr_mp.errors import ConfigError, HostUnreachable
from jfr_mp.hosts.ssh.endpoint import Endpoint, public_half
from jfr_mp.hosts.ssh.known_hosts import KnownHosts
from jfr_mp.hosts.ssh.paramiko_errors import one_line
from jfr_mp.hosts.ssh.questions import Answer, AskingTransport
from jfr_mp.hosts.ssh.transport import OrderlyTransport

#: Seconds for the host to judge a login: directories of users can be slow.
_LOGIN_TIMEOUT = 30.0
#: Arguments of paramiko's `connect` that a project file cannot set.
_RESERVED = {"self", "hostname", "sock", "transport_factory"}


class _Verifier(MissingHostKeyPolicy):
    """Verifies the host's key; paramiko's own table of host keys stays empty, so that it asks about every key."""

    def __init__(self, endpoint: Endpoint, known_hosts: KnownHosts) -> None:
        self._endpoint = endpoint
        self._known_hosts = known_hosts
        self.verified = False

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Accept the key or raise HostUnreachable."""
        self._known_hosts.verify(self._endpoint.key_name, key, record=self._endpoint.record_new_keys)
        self.verified = True


@dataclass(frozen=True)
class Login:
    """A login at a host.

    Parameters
    ----------
    endpoint
        The host, and what the user logs in with.
    known_hosts
        Verifies the host's key.
    answer
        Asks the user whatever the host wants to know; None if there is no user to ask.
    """

    endpoint: Endpoint
    known_hosts: KnownHosts
    answer: Answer | None = None

    def over(self, sock: Any) -> SSHClient:
        """Log in over something like a socket, which leads to the host.

        Raises
        ------
        HostUnreachable
            The host cannot be verified, or refuses the login; says why in one line.
        ConfigError
            The project file asks for something that does not exist.
        """
        endpoint = self.endpoint
        verifier = _Verifier(endpoint, self.known_hosts)
        client = SSHClient()
        client.set_missing_host_key_policy(verifier)
        with _agent() as keys, ExitStack() as undo:
            undo.callback(client.close)
            arguments = self._arguments(keys)
            began = time.monotonic()
            try:
                self._try(client, sock, arguments)
            except (SSHException, OSError, EOFError, ValueError) as error:
                # Each kind of damaged key raises something else.
                why = (
                    _refusal(endpoint, keys, error, asked=self.answer is not None)
                    if verifier.verified
                    else _no_greeting(endpoint, error, time.monotonic() - began)
                )
                raise HostUnreachable(f"{endpoint}: {why}") from error
            undo.pop_all()
        return client

    def _try(self, client: SSHClient, sock: Any, arguments: dict[str, Any]) -> None:
        """Try keys and passwords, then the user."""
        try:
            client.connect(self.endpoint.host, sock=sock, transport_factory=self._transport, **arguments)
        except SSHException:
            asking = client.get_transport()
            if not isinstance(asking, AskingTransport) or not asking.is_active():
                raise
            asking.ask(self.endpoint.user)

    def _transport(self, sock: Any, **options: Any) -> OrderlyTransport:
        """Return a transport that asks the host for a key that can be verified."""
        endpoint, name = self.endpoint, self.endpoint.key_name
        made = (
            AskingTransport(sock, str(endpoint), self.answer, **options)
            if self.answer
            else OrderlyTransport(sock, **options)
        )
        made.ask_for_keys(self.known_hosts.key_types(name), certificates=self.known_hosts.has_authority(name))
        return made

    def _arguments(self, agent_keys: Iterable[AgentKey]) -> dict[str, Any]:
        """Return the arguments of paramiko's `connect`."""
        endpoint = self.endpoint
        known = inspect.signature(SSHClient.connect).parameters.keys() - _RESERVED
        if unknown := sorted(endpoint.options.keys() - known):
            raise ConfigError(
                f"connect_kwargs of {endpoint}: {unknown[0]!r} is not an argument of paramiko's SSHClient.connect"
            )
        for path in endpoint.key_files:
            if not path.exists() and not public_half(path).exists():
                raise HostUnreachable(f"{endpoint}: there is no key file {path}")
        passphrase = endpoint.passphrase
        if self.answer:
            passphrase = passphrase or endpoint.password
        arguments = {
            "port": endpoint.port,
            "username": endpoint.user,
            # The user is asked for it; as an answer to something else it could cost an attempt.
            "password": None if self.answer else endpoint.password,
            "passphrase": passphrase,
            # Of a key that the agent holds, only the public half may be on this machine.
            "key_filename": [str(path) for path in endpoint.key_files if path.exists() and path != public_half(path)],
            "allow_agent": endpoint.use_agent,
            "look_for_keys": endpoint.use_default_keys,
            "timeout": endpoint.timeout,
            "banner_timeout": endpoint.timeout,
            "auth_timeout": max(_LOGIN_TIMEOUT, endpoint.timeout),
            "channel_timeout": max(_LOGIN_TIMEOUT, endpoint.timeout),
            **endpoint.options,
        }
        if not endpoint.use_agent:
            arguments.setdefault("pkey", _named_key(endpoint, agent_keys))
        return arguments


@contextmanager
def _agent() -> Iterator[tuple[AgentKey, ...]]:
    """Yield the keys of the SSH agent: none if it does not answer as it should."""
    with ExitStack() as open_ones:
        try:
            keys = open_ones.enter_context(closing(Agent())).get_keys()
        except (SSHException, OSError):
            keys = ()
        yield keys


def _named_key(endpoint: Endpoint, keys: Iterable[AgentKey]) -> AgentKey | None:
    """Return the SSH agent's key that a key file names: with IdentitiesOnly, only such keys may be used."""
    public = [public_half(path) for path in endpoint.key_files]
    wanted = [path.read_text().split()[1] for path in public if path.exists()]
    held = {key.get_base64(): key for key in keys}
    return next((held[key] for key in wanted if key in held), None)


def _no_greeting(endpoint: Endpoint, error: Exception, waited: float) -> str:
    """Return why a host did not even show its key."""
    if waited >= endpoint.timeout:
        # What paramiko says then depends on which of its timers was first.
        silence = f"it accepts the connection and then says nothing for {endpoint.timeout:g} s"
        return f"{silence}: overloaded, or no SSH server"
    return f"no connection: {one_line(error)}"


def _refusal(endpoint: Endpoint, keys: Sequence[AgentKey], error: Exception, *, asked: bool) -> str:
    """Return what was tried without success."""
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
    """Return why a key file cannot be used, or None."""
    try:
        content = path.read_bytes()
        load = load_ssh_private_key if b"BEGIN OPENSSH" in content else load_pem_private_key
        load(content, passphrase.encode() if passphrase else None)
    except TypeError:
        # Also raised for a passphrase that is not needed, which is not a fault here.
        return None if passphrase else "needs a passphrase"
    except OSError as error:
        return error.strerror
    except (ValueError, UnsupportedAlgorithm):
        return "wrong passphrase, or no private key" if passphrase else "no private key"
    return None
