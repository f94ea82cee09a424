from pathlib import Path

import pytest

from jfr_mp.config.workers import LocalWorker, RemoteWorker
from jfr_mp.errors import ConfigError
from jfr_mp.hosts import HostPool


def test_workers_on_one_host_share_it(tmp_path: Path) -> None:
    # Given two local workers
    workers = {name: LocalWorker(scheduler_type="shell", work_dir=tmp_path / name) for name in "ab"}
    pool = HostPool(workers)
    # When both hosts are asked for
    hosts = {pool.connected("a"), pool.connected("b")}
    # Then there is one, which is connected
    assert len(hosts) == 1
    assert hosts.pop().is_connected
    pool.close()


def test_a_remote_worker_is_refused_by_its_type(tmp_path: Path) -> None:
    pool = HostPool({"far": RemoteWorker(scheduler_type="slurm", work_dir=tmp_path, host="h")})
    with pytest.raises(ConfigError, match="'remote' are not supported yet"):
        pool.connected("far")
