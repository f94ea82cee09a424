"""The hosts of a project's workers, one connection for workers that share a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jfr_mp.errors import ConfigError
from jfr_mp.hosts.base import BaseHost
from jfr_mp.hosts.local import LocalHost

if TYPE_CHECKING:
    from jfr_mp.config.workers import WorkerBase


def host_of(worker: WorkerBase) -> BaseHost:
    """Return the host of a worker, not connected.

    Raises
    ------
    ConfigError
        This version cannot reach hosts of that type.
    """
    if worker.is_local:
        return LocalHost()
    raise ConfigError(f"workers of type {worker.type!r} are not supported yet by this version: only 'local' ones run")


class HostPool:
    """Opens hosts when they are first used and keeps them.

    Parameters
    ----------
    workers
        The workers of the project by name.
    """

    def __init__(self, workers: Mapping[str, WorkerBase]) -> None:
        self._workers = workers
        self._hosts: dict[str, BaseHost] = {}

    def connected(self, worker_name: str) -> BaseHost:
        """Return the host of a worker, connected; HostError where that is not possible now."""
        worker = self._workers[worker_name]
        if worker.host_key not in self._hosts:
            self._hosts[worker.host_key] = host_of(worker)
        host = self._hosts[worker.host_key]
        if not host.is_connected:
            host.connect()
        return host

    def close(self) -> None:
        """Close all connections."""
        while self._hosts:
            _, host = self._hosts.popitem()
            host.close()
