"""The hosts of a project's workers, one connection for workers that share a host."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.errors import ConfigError
from jfr_mp.hosts.base import BaseHost
from jfr_mp.hosts.environment import job_environment
from jfr_mp.hosts.local import LocalHost

if TYPE_CHECKING:
    from jfr_mp.config.options import JfrMpOptions
    from jfr_mp.config.workers import WorkerBase
    from jfr_mp.hosts.ssh_hosts import SshHosts


def host_of(worker: WorkerBase, base_dir: str | Path | None = None) -> BaseHost:
    """Return the host of a worker, not connected.

    Parameters
    ----------
    worker
        The worker.
    base_dir
        The project's directory, in which the keys of new hosts are recorded; None to refuse new hosts, and hosts at
        which the user has to log in.

    Raises
    ------
    ConfigError
        The host is described in a way that this version does not support.
    """
    return HostPool({}, base_dir).host_of(worker)


class HostPool:
    """Opens hosts when they are first used and keeps them. Several threads may use it at the same time.

    Parameters
    ----------
    workers
        The workers of the project by name.
    base_dir
        The project's directory; see `host_of`.
    options
        The options of the project: the environment of commands on this machine, and the mode of directories.
    """

    def __init__(
        self,
        workers: Mapping[str, WorkerBase],
        base_dir: str | Path | None = None,
        options: JfrMpOptions | None = None,
    ) -> None:
        self._workers = workers
        self._options = options
        self._base_dir = Path(base_dir) if base_dir else None
        self._hosts: dict[str, BaseHost] = {}
        self._ssh_hosts: SshHosts | None = None
        self._lock = threading.Lock()

    def connected(self, worker_name: str) -> BaseHost:
        """Return the host of a worker, connected; HostError if that is not possible now."""
        worker = self._workers[worker_name]
        with self._lock:
            if worker.host_key not in self._hosts:
                self._hosts[worker.host_key] = self.host_of(worker)
            host = self._hosts[worker.host_key]
        if not host.is_connected:
            host.connect()
        return host

    def host_of(self, worker: WorkerBase) -> BaseHost:
        """Return a new host for a worker, not connected; it shares the connections of the pool's other hosts."""
        host = self._host_of(worker)
        if self._options is not None:
            host.directory_mode = self._options.directory_mode
        return host

    def _host_of(self, worker: WorkerBase) -> BaseHost:
        # paramiko takes long to import, and projects with local workers do not need it.
        from jfr_mp.config.workers import SshWorker

        if worker.is_local:
            return LocalHost(job_environment(self._options) if self._options is not None else None)
        if not isinstance(worker, SshWorker):
            raise ConfigError(f"workers of type {worker.type!r} have no host that this version supports")
        if self._ssh_hosts is None:
            from jfr_mp.hosts.ssh_hosts import SshHosts

            self._ssh_hosts = SshHosts(self._base_dir)
        return self._ssh_hosts.host(worker)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            hosts = list(self._hosts.values())
            self._hosts.clear()
            self._ssh_hosts = None
        for host in hosts:
            host.close()
