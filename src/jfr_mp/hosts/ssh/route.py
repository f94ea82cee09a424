"""The way to a host: directly, through gateways, or by a proxy command; then the login."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko.ssh_exception import ChannelException, SSHException

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.authentication import Login
from jfr_mp.hosts.ssh.direct_connection import DirectConnection
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.known_hosts import KnownHosts
from jfr_mp.hosts.ssh.paramiko_errors import one_line
from jfr_mp.hosts.ssh.proxy import ProxyProcess, Tunnel
from jfr_mp.hosts.ssh.questions import Answer

# What it reports arrives as exceptions, too; its own log has a traceback for each host that is unreachable.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Route:
    """Connects to hosts, through their gateways.

    Parameters
    ----------
    known_hosts
        The file in which the keys of new hosts are recorded; None to refuse new hosts.
    answer
        Asks the user whatever the hosts on the way want to know; None if there is no user to ask.
    """

    known_hosts: Path | None
    answer: Answer | None = None

    def connect(self, endpoint: Endpoint) -> DirectConnection:
        """Connect to a host and log in.

        Raises
        ------
        HostUnreachable
            Not possible now; says why in one line.
        ConfigError
            The project file asks for something that does not exist.
        """
        with ExitStack() as below:
            sock = self._reach(endpoint, below)
            client = Login(endpoint, KnownHosts(endpoint.known_hosts, self.known_hosts), self.answer).over(sock)
            return DirectConnection(endpoint, client, below.pop_all())

    def _reach(self, endpoint: Endpoint, below: ExitStack) -> Any:
        """Return something like a socket that leads to the host; what it stands on is closed with `below`."""
        try:
            if endpoint.gateway:
                gateway = self._gateway(endpoint, endpoint.gateway)
                below.callback(gateway.close)
                return Tunnel(gateway.open_tunnel(endpoint.host, endpoint.port, endpoint.timeout))
            if endpoint.proxy_command:
                proxy = ProxyProcess(endpoint.proxy_command)
                below.callback(proxy.close)
                return proxy.socket
            sock = socket.create_connection((endpoint.host, endpoint.port), timeout=endpoint.timeout)
            below.callback(sock.close)
            # Small requests must not wait for the acknowledgment of those before them.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except socket.gaierror as error:
            raise HostUnreachable(f"{endpoint}: there is no host of that name ({error.strerror})") from error
        except TimeoutError as error:
            raise HostUnreachable(f"{endpoint}: no answer within {endpoint.timeout:g} s") from error
        except ChannelException as error:
            raise HostUnreachable(
                f"{endpoint}: the gateway {endpoint.gateway} cannot reach it: {error.text}"
            ) from error
        except (OSError, SSHException, EOFError) as error:
            raise HostUnreachable(f"{endpoint}: {one_line(error)}") from error

    def _gateway(self, endpoint: Endpoint, gateway: Endpoint) -> DirectConnection:
        try:
            return self.connect(gateway)
        except HostUnreachable as error:
            raise type(error)(f"{endpoint}: its gateway {error}") from error
