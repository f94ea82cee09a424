from __future__ import annotations

from typing import Any

import pytest
from qtoolkit.io import scheduler_mapping
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.config import LocalWorker, RemoteWorker
from jfr_mp.config.workers import SCHEDULERS
from jfr_mp.errors import ConfigError


def local(**fields: Any) -> LocalWorker:
    return LocalWorker.model_validate({"scheduler_type": "shell", "work_dir": "/work", **fields})


def remote(**fields: Any) -> RemoteWorker:
    return RemoteWorker.model_validate({"host": "cluster", "scheduler_type": "slurm", "work_dir": "/work", **fields})


def test_the_schedulers_are_qtoolkits() -> None:
    assert set(SCHEDULERS) == set(scheduler_mapping)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_by_name(name: str) -> None:
    assert isinstance(local(scheduler_type=name).get_scheduler_io(), scheduler_mapping[name])


def test_a_serialized_scheduler() -> None:
    # Given a scheduler with options of its own, serialized
    worker = local(scheduler_type=SlurmIO(get_job_executable="sacct").as_dict())

    # When it is made, then it has them
    scheduler = worker.get_scheduler_io()
    assert isinstance(scheduler, SlurmIO)
    assert scheduler.get_job_executable == "sacct"


def test_a_serialized_object_that_is_no_scheduler() -> None:
    worker = local(scheduler_type={"@module": "qtoolkit.core.data_objects", "@class": "QResources"})
    with pytest.raises(ConfigError, match="must be one of qtoolkit's schedulers"):
        worker.get_scheduler_io()


def test_secrets_are_not_shown() -> None:
    # Given a worker full of secrets
    gateway = {"host": "jump", "password": "SECRET", "gateway": {"host": "outer", "passphrase": "SECRET"}}
    worker = remote(password="SECRET", passphrase="SECRET", connect_kwargs={"password": "SECRET"}, gateway=gateway)

    # When it is shown, then they are not, and neither in its key
    assert "jump" in repr(worker)
    assert "SECRET" not in repr(worker) + str(worker) + worker.host_key


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (local(), local(work_dir="/other", timeout_execute=5), True),
        (remote(), remote(work_dir="/other", scheduler_type="pbs", max_jobs=3), True),
        (remote(), remote(host="other"), False),
        (remote(), remote(user="other"), False),
        (remote(), remote(gateway={"host": "jump"}), False),
        (remote(), local(), False),
    ],
)
def test_workers_share_a_host_when_they_are_reached_in_the_same_way(one: Any, other: Any, same: bool) -> None:
    assert (one.host_key == other.host_key) is same


def test_what_kind_of_worker_it_is() -> None:
    batch = {"jobs_handle_dir": "/handle", "work_dir": "/batch"}
    assert (local().is_local, local().is_batch) == (True, False)
    assert (remote(batch=batch).is_local, remote(batch=batch).is_batch) == (False, True)
    assert remote().cli_info["host"] == "cluster"
