"""The hosts of SSH workers. Workers that log in in the same way share one link, whatever else they differ in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jfr_mp.config.workers import SshWorker
from jfr_mp.errors import LoginNeeded
from jfr_mp.hosts.login.broker_socket import broker_socket
from jfr_mp.hosts.login.lent_connection import LentConnection
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.interface import Connection
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.remote_commands import ShellOptions
from jfr_mp.hosts.ssh.remote_host import SshHost
from jfr_mp.hosts.ssh.route import Route
from jfr_mp.hosts.ssh.ssh_config import endpoints


@dataclass
class SshHosts:
    """Makes the hosts of the SSH workers of a project.

    Parameters
    ----------
    base_dir
        The project's directory; None to refuse new hosts, and hosts at which the user has to log in.
    links
        The links made so far, by endpoint and whether the user has to log in.
    """

    base_dir: Path | None
    links: list[tuple[tuple[Endpoint, bool], Link]] = field(default_factory=list)

    def host(self, worker: SshWorker) -> SshHost:
        """Return the host of a worker, not connected; a worker with a `transfer` host has a second link for files.

        Raises
        ------
        ConfigError
            ``~/.ssh/config`` cannot be read or is not valid.
        """
        ways = endpoints(worker)
        options = ShellOptions(
            command=worker.shell_cmd,
            login=worker.login_shell,
            environment=ways[0][1].environment,
            inline=bool(worker.inline_ssh_env),
            timeout=worker.timeout_execute,
            sanitize=worker.sanitize_command,
        )
        links = [self._link(name, endpoint, worker) for name, endpoint in ways]
        return SshHost(worker.host, links[0], options, links[1] if len(links) > 1 else None)

    def _link(self, name: str, endpoint: Endpoint, worker: SshWorker) -> Link:
        """Return the link to an endpoint: the same one for every worker that goes there in the same way."""
        way = (endpoint, worker.interactive_login)
        for known, link in self.links:
            # An endpoint has no hash: its options are a mapping.
            if known == way:
                link.patience = max(link.patience, worker.timeout_execute)
                return link
        made = Link(name, self._opener(endpoint, worker), worker.timeout_execute)
        self.links.append((way, made))
        return made

    def _opener(self, endpoint: Endpoint, worker: SshWorker) -> Callable[[], Connection]:
        """Return what opens a connection."""
        if worker.interactive_login:
            return partial(_lent, worker.host, endpoint, self.base_dir)
        return partial(Route(self.base_dir and self.base_dir / KNOWN_HOSTS).connect, endpoint)


def _lent(name: str, endpoint: Endpoint, base_dir: Path | None) -> Connection:
    """Return a connection at which the user has logged in."""
    if base_dir is None:
        raise LoginNeeded(f"{name}: only processes of a project can use an interactive login")
    return LentConnection(name, broker_socket(endpoint, base_dir))
