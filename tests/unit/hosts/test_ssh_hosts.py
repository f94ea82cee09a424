from __future__ import annotations

from pathlib import Path

from jfr_mp.config.workers import RemoteWorker, SeparatedTransferWorker
from jfr_mp.hosts.ssh_hosts import SshHosts


def test_workers_that_differ_in_how_a_host_is_used_share_the_way_to_it(tmp_path: Path) -> None:
    # Given workers on one host, one of which names it once more for its files
    login = {"work_dir": tmp_path, "host": "h", "user": "me", "scheduler_type": "shell"}
    plain = RemoteWorker(**login)
    patient = RemoteWorker(**login, login_shell=False, timeout_execute=999)
    separated = SeparatedTransferWorker.model_validate({**login, "transfer": {"host": "h"}})
    elsewhere = SeparatedTransferWorker.model_validate({**login, "transfer": {"host": "other"}})
    asked = RemoteWorker(**login, interactive_login=True)
    # When their hosts are made
    hosts = SshHosts(tmp_path)
    for worker in (plain, patient, separated, elsewhere, asked):
        hosts.host(worker)
    # Then there is one way for all, one for the other host, and one by which the user has to log in
    assert [(endpoint.host, by_a_person) for (endpoint, by_a_person), _ in hosts.links] == [
        ("h", False),
        ("other", False),
        ("h", True),
    ]
    assert hosts.links[0][1].patience == 999
