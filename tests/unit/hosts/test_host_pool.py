from pathlib import Path

import pytest

from jfr_mp.config.workers import LocalWorker, RemoteWorker
from jfr_mp.errors import HostUnreachable
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


def test_workers_that_differ_in_their_scheduler_share_a_host(tmp_path: Path) -> None:
    # Given three workers, of which two are on the same host
    fields = {"work_dir": tmp_path, "host": "h.invalid", "user": "me"}
    workers = {
        "slurm": RemoteWorker(scheduler_type="slurm", **fields),
        "shell": RemoteWorker(scheduler_type="shell", **fields),
        "other": RemoteWorker(scheduler_type="shell", **fields, port=2222),
    }
    # Then those two have the same host key, by which the pool goes
    assert workers["slurm"].host_key == workers["shell"].host_key != workers["other"].host_key
    with pytest.raises(HostUnreachable, match=r"me@h\.invalid: there is no host of that name"):
        HostPool(workers, tmp_path).connected("slurm")
