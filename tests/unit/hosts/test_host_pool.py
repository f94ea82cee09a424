from pathlib import Path

import pytest

from jfr_mp.config.workers import LocalWorker, RemoteWorker, SeparatedTransferWorker
from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts import HostPool
from jfr_mp.hosts.host_pool import host_of
from jfr_mp.hosts.ssh.host import Links


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


def test_workers_that_differ_in_how_a_host_is_used_share_the_way_to_it(tmp_path: Path) -> None:
    # Given workers on one host, one of which names it once more for its files
    login = {"work_dir": tmp_path, "host": "h", "user": "me", "scheduler_type": "shell"}
    plain = RemoteWorker(**login)
    patient = RemoteWorker(**login, login_shell=False, timeout_execute=999)
    separated = SeparatedTransferWorker.model_validate({**login, "transfer": {"host": "h"}})
    elsewhere = SeparatedTransferWorker.model_validate({**login, "transfer": {"host": "other"}})
    asked = RemoteWorker(**login, interactive_login=True)
    # When their hosts are made
    links: Links = []
    for worker in (plain, patient, separated, elsewhere, asked):
        host_of(worker, tmp_path, links)
    # Then there is one way for all, one for the other host, and one by which a person has to log in
    assert [(endpoint.host, by_a_person) for (endpoint, by_a_person), _ in links] == [
        ("h", False),
        ("other", False),
        ("h", True),
    ]
    assert links[0][1].patience == 999
