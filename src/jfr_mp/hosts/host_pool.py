"""The hosts of a project's workers, one connection for workers that share a host."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.errors import ConfigError
from jfr_mp.hosts.base import BaseHost
from jfr_mp.hosts.local import LocalHost

if TYPE_CHECKING:
    from jfr_mp.config.workers import WorkerBase
    from jfr_mp.hosts.ssh.host import Links


def host_of(worker: WorkerBase, base_dir: str | Path | None = None, links: Links | None = None) -> BaseHost:
    """Return the host of a worker, not connected.

    Parameters
    ----------
    worker
        The worker.
    base_dir
        The project's directory, where the keys of new hosts are recorded; None to refuse new hosts, and those where a
        person has to log in.
    links
        The connections of other workers, to be shared where that is possible.

    Raises
    ------
    ConfigError
        The host is described in a way that nobody understands.
    """
    from jfr_mp.config.workers import SshWorker

    if worker.is_local:
        return LocalHost()
    if isinstance(worker, SshWorker):
        from jfr_mp.hosts.ssh.host import ssh_host

        return ssh_host(worker, Path(base_dir) if base_dir else None, links)
    raise ConfigError(f"workers of type {worker.type!r} have no host that this version knows")


class HostPool:
    """Opens hosts when they are first used and keeps them. Several threads may use it at the same time.

    Parameters
    ----------
    workers
        The workers of the project by name.
    base_dir
        The project's directory; see `host_of`.
    """

    def __init__(self, workers: Mapping[str, WorkerBase], base_dir: str | Path | None = None) -> None:
        self._workers = workers
        self._base_dir = base_dir
        self._hosts: dict[str, BaseHost] = {}
        self._links: Links = []
        self._lock = threading.Lock()

    def connected(self, worker_name: str) -> BaseHost:
        """Return the host of a worker, connected; HostError where that is not possible now."""
        worker = self._workers[worker_name]
        with self._lock:
            if worker.host_key not in self._hosts:
                self._hosts[worker.host_key] = host_of(worker, self._base_dir, self._links)
            host = self._hosts[worker.host_key]
        if not host.is_connected:
            host.connect()
        return host

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            hosts = list(self._hosts.values())
            self._hosts.clear()
            self._links.clear()
        for host in hosts:
            host.close()
