from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore, MongoStore
from pydantic import ValidationError

from jfr_mp.config import JfrMpOptions, Project, RunnerOptions, files
from jfr_mp.errors import ConfigError

FILE = Path("/folder/p.yaml")
STORE = {"type": "MongoStore", "database": "db", "collection_name": "jobs"}
WORKER = {"type": "local", "scheduler_type": "shell", "work_dir": "/work"}
BATCH = {"jobs_handle_dir": "/handle", "work_dir": "/batch"}
REMOTE = {**WORKER, "type": "remote", "host": "cluster"}


def fields(**more: Any) -> dict[str, Any]:
    return {"name": "p", "queue": {"store": STORE}, **more}


def project(**more: Any) -> Project:
    return Project.model_validate(fields(**more))


def workers(**more: Any) -> dict[str, Any]:
    return {"workers": {"w": {**WORKER, **more}}}


def store(**more: Any) -> dict[str, Any]:
    return {"queue": {"store": {**STORE, "password": "SECRET", **more}}}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"workrs": {}}, "workrs: unknown field (did you mean 'workers'?); allowed: name, base_dir,"),
        ({"zzz": 1}, "zzz: unknown field; allowed: name, base_dir,"),
        ({"name": 5}, "name: must be a valid string"),
        ({"name": ""}, "name: must"),
        *(({"name": name}, "name: must not contain '/'") for name in ("../../x", "a/b", "..", ".a", "a\nb", "a\x00")),
        *(
            ({"runner": {option: value}}, f"runner.{option}: must be ")
            for option in ("delay_checkout", "delay_ping_db", "lock_timeout")
            for value in (float("nan"), float("inf"), -1)
        ),
        ({"runner": {"delta_retry": [1, float("inf")]}}, "runner.delta_retry.1: must be a finite number"),
        ({"runner": {"max_step_attempts": -1}}, "runner.max_step_attempts: must be greater than or equal to 0"),
        (workers(delay_download=-1), "workers.w.delay_download: must be greater"),
        ({"metadata": {"jfr_mp": {"umask": "9"}}}, "metadata.jfr_mp.umask: must match pattern"),
        ({"base_dir": 5}, "base_dir: must be a valid string"),
        ({"log_level": "loud"}, "log_level: must be 'error', 'warn', 'info' or 'debug'"),
        (
            {"runner": {"delay_chekout": 1}},
            "runner.delay_chekout: unknown field (did you mean 'delay_checkout'?); allowed:",
        ),
        ({"runner": {"delay_checkout": "soon"}}, "runner.delay_checkout: must be a valid number"),
        ({"runner": {"delta_retry": [1, "x"]}}, "runner.delta_retry.1: must be a valid number"),
        ({"workers": [1]}, "workers: must be a dictionary"),
        ({"workers": {"w": 3}}, "workers.w: must be"),
        ({"workers": {3: WORKER}}, "workers.3: the name must be a valid string"),
        (workers(work_dri="/x"), "workers.w.work_dri: unknown field (did you mean 'work_dir'?); allowed: type,"),
        (
            workers(type="remte"),
            "workers.w.type: unknown type (did you mean 'remote'?); allowed: local, remote, separated",
        ),
        (workers(type=None), "workers.w.type: unknown type; allowed: local, remote, separated_transfer"),
        ({"workers": {"w": {}}}, "workers.w.type: missing, but needed; allowed: local, remote, separated_transfer"),
        (workers(work_dir="rel"), "workers.w.work_dir: must be an absolute path"),
        (
            workers(scheduler_type="slrm"),
            "scheduler_type: unknown scheduler (did you mean 'slurm'?); allowed: slurm, pbs,",
        ),
        (
            workers(scheduler_type={"a": 1}),
            "workers.w.scheduler_type: a serialized scheduler needs '@module' and '@class'",
        ),
        (workers(scheduler_type=3), "workers.w.scheduler_type: must be a valid string, or must be a dictionary"),
        (workers(execution_cmd="jf"), "workers.w.execution_cmd: must contain {}"),
        (workers(max_jobs=-1), "workers.w.max_jobs: must be greater than or equal to 0"),
        (workers(batch={}), "workers.w.batch.jobs_handle_dir: missing, but needed"),
        (workers(type="separated_transfer", host="h"), "workers.w.transfer: missing, but needed"),
        (workers(type="remote", host="h", gateway={"user": "u"}), "workers.w.gateway.host: missing, but needed"),
        (
            workers(type="remote", host="h", gateway=5),
            "workers.w.gateway: must be a valid string, or must be a dictionary",
        ),
        ({"workers": {"host": {**REMOTE, "hst": 1}}}, "workers.host.hst: unknown field (did you mean 'host'?)"),
        (
            {"workers": {"a": {**WORKER, "batch": BATCH}, "b": {**WORKER, "batch": BATCH}}},
            "workers.b.batch.jobs_handle_dir: is also that of worker 'a' on the same host",
        ),
        ({"exec_config": {"e": {"modules": "x"}}}, "exec_config.e.modules: must be a valid list"),
        ({"exec_config": {"e": {"xport": {}}}}, "exec_config.e.xport: unknown field (did you mean 'export'?)"),
        ({"queue": {"stor": {}}}, "queue.stor: unknown field (did you mean 'store'?)"),
        ({"queue": {"store": {"database": "d"}}}, "queue.store.type: missing, but needed"),
        (store(type="MongoStor"), "queue.store.type: this store cannot contain the queue (did you mean 'MongoStore'?)"),
        (store(type="GridFSStore"), "queue.store.type: this store cannot contain the queue; allowed: MongoStore,"),
        (store(databse="d"), "queue.store.databse: unknown field (did you mean 'database'?); allowed: database,"),
        (store(port="27017"), "queue.store.port: must be an integer"),
        (store(password=1), "queue.store.password: must be a string (quote it)"),
        (store(database=None), "queue.store.database: missing, but needed"),
        (store(collection_name=None), "queue.store.collection_name: missing, but needed"),
        (store(type="MongoURIStore"), "queue.store.uri: missing, but needed"),
        (store(uri="http://u:SECRET@h/d"), "queue.store.uri: must begin with mongodb:// or mongodb+srv://"),
        (store(uri="mongodb://u:SECRET@h", database=None), "queue.store.database: missing, but needed"),
        ({"queue": {"store": {"@class": "MongoStore"}}}, "queue.store.@module: missing, but needed beside '@class'"),
        ({"jobstore": 3}, "jobstore: must be a dictionary"),
        (
            {"jobstore": {"docs_stor": {}}},
            "jobstore.docs_store: missing, but needed: the store of the outputs (did you mean",
        ),
        ({"jobstore": {"docs_store": 3}}, "jobstore.docs_store: must be a dictionary that describes a store"),
        (
            {"JOB_STORE": {"docs_store": {"type": "MemoryStor"}}},
            "JOB_STORE.docs_store.type: unknown store (did you mean",
        ),
        (
            {
                "jobstore": {
                    "docs_store": {"type": "MemoryStore"},
                    "additional_stores": {"data": {"type": "MongoStore"}},
                }
            },
            "jobstore.additional_stores.data.database: missing, but needed",
        ),
        (
            {"optional_jobstores": {"o": {"docs_store": {"type": "MongoStore", "password": "SECRET"}}}},
            "optional_jobstores.o.docs_store.database: missing, but needed",
        ),
        ({"metadata": 3}, "metadata: must be a dictionary"),
        ({"metadata": {"jfr_mp": 3}}, "metadata.jfr_mp: must be a dictionary"),
        (
            {"metadata": {"jfr_mp": {"probe_intervall": 1}}},
            "metadata.jfr_mp.probe_intervall: unknown field (did you mean 'probe_interval'?); allowed: embedded_db,",
        ),
        ({"metadata": {"jfr_mp": {"lease_ttl": 0}}}, "metadata.jfr_mp.lease_ttl: must be greater than 0"),
        (
            {"metadata": {"jfr_mp": {"lease_ttl": 1}}},
            "metadata.jfr_mp.lease_ttl: must be longer than heartbeat_interval",
        ),
        (
            {"metadata": {"jfr_mp": {"embedded_db": {"dir": "rel", "port": 1}}}},
            "metadata.jfr_mp.embedded_db.dir: must be an absolute path",
        ),
        (
            {"metadata": {"jfr_mp": {"embedded_db": {"dir": "/d", "port": 0}}}},
            "metadata.jfr_mp.embedded_db.port: must be greater than or equal to 1",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(wrong: dict[str, Any], expected: str) -> None:
    # Given fields of which one is wrong
    data = fields(**wrong)

    # When they are read, then one of the lines, each of which names the file, says so; no line holds a secret
    with pytest.raises(ConfigError) as caught:
        files.validate(Project, data, FILE)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{FILE}: ") and expected in line for line in lines), lines
    assert "SECRET" not in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    data = fields(log_level="loud", **workers(max_jobs=-1, work_dir="rel"))
    del data["queue"]
    with pytest.raises(ConfigError) as caught:
        files.validate(Project, data, FILE)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "log_level",
        "workers.w.work_dir",
        "workers.w.max_jobs",
        "queue",
    ]


def test_pydantics_own_error_shows_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        project(**workers(type="remote", host="h", password=["SECRET"]))
    assert "SECRET" not in str(caught.value)


def test_folders_are_below_the_projects_folder_unless_given(folder: Path) -> None:
    # Given projects that say less and less, null as well as empty
    given = project(base_dir="/base", tmp_dir=None, log_dir="", daemon_dir="/daemon")
    bare = project()

    # Then what they leave out is derived
    assert (given.base_dir, given.tmp_dir, given.log_dir, given.daemon_dir) == (
        "/base",
        "/base/tmp",
        "/base/log",
        "/daemon",
    )
    assert bare.base_dir == str(folder / "p")
    assert bare.daemon_dir == str(folder / "p" / "daemon")


@pytest.mark.parametrize(("attempt", "delay"), [(1, 30), (2, 300), (3, 1200), (9, 1200), (0, 30)])
def test_the_delay_after_a_failed_attempt(attempt: int, delay: float) -> None:
    assert RunnerOptions().get_delta_retry(attempt) == delay
    assert RunnerOptions(delta_retry=()).get_delta_retry(attempt) == 0


def test_options_of_our_own() -> None:
    # Given a project without and one with options of ours
    options = {"probe_interval": 3, "embedded_db": {"dir": "/data/db", "port": 27099}}
    ours = project(metadata={"owner": "bob", "jfr_mp": options})

    # Then the first has the defaults, the second its own, and the metadata is as it was written
    assert project().jfr_mp == project(metadata={"owner": "bob"}).jfr_mp == JfrMpOptions()
    assert ours.jfr_mp.probe_interval == 3
    assert ours.jfr_mp.embedded_db is not None
    assert ours.jfr_mp.embedded_db.dir == Path("/data/db")
    assert ours.metadata == {"owner": "bob", "jfr_mp": options}


def test_lookups_list_what_there_is() -> None:
    # Given a project with two workers and one execution configuration
    found = project(workers={"alpha": WORKER, "beta": WORKER}, exec_config={"vasp": {}})

    # Then what is there is found
    assert found.worker("alpha") is found.workers["alpha"]
    assert found.get_exec_config("vasp") is found.exec_config["vasp"]

    # And what is not there is an error that says what is
    with pytest.raises(ConfigError, match=r"'p' has no worker 'alpa' \(did you mean 'alpha'\?\); known: alpha, beta"):
        found.worker("alpa")
    with pytest.raises(ConfigError, match="'p' has no exec_config 'x'; known: vasp"):
        found.get_exec_config("x")
    with pytest.raises(ConfigError, match="'p' has no optional jobstore 'x'; known: none"):
        found.get_jobstore("x")


def test_jobstores_are_made_from_both_kinds_of_description() -> None:
    # Given a JobStore described, and optional ones described and serialized
    described = {"docs_store": {"type": "MemoryStore"}, "additional_stores": {"data": {"type": "MemoryStore"}}}
    serialized = JobStore(MemoryStore(), additional_stores={"blobs": MemoryStore()}).as_dict()
    made = project(jobstore=described, optional_jobstores={"s": serialized, "d": described})

    # When they are made, then they are what was described
    assert set(made.get_jobstore().additional_stores) == {"data"}
    assert set(made.get_jobstore("s").additional_stores) == {"blobs"}
    assert set(made.get_jobstore("d").additional_stores) == {"data"}


@pytest.mark.parametrize("spec", [STORE, MongoStore("db", "jobs").as_dict()])
def test_the_queue_store_is_made_from_both_kinds_of_description(spec: dict[str, Any]) -> None:
    made = project(queue={"store": spec}).get_queue_store()
    assert isinstance(made, MongoStore)
    assert (made.database, made.collection_name) == ("db", "jobs")


def test_a_store_that_maggma_refuses_is_named_without_its_secrets() -> None:
    # Given descriptions that look right but are not
    strange = {"type": "MemoryStore", "collection_name": "a", "colour": "SECRET"}
    made = project(
        queue={"store": {**STORE, "database": None, "uri": "mongodb://u:SECRET@h:port/db"}},
        jobstore={"docs_store": strange},
        optional_jobstores={"o": {"docs_store": {"type": "HomeMade", "password": "SECRET"}}},
    )

    # When they are made, then the errors name project and field
    for make, field in (
        (made.get_queue_store, "queue.store"),
        (made.get_jobstore, "jobstore"),
        (lambda: made.get_jobstore("o"), "optional_jobstores.o"),
    ):
        with pytest.raises(ConfigError, match=rf"project 'p': {field}: maggma rejected the store") as caught:
            make()
        assert "SECRET" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_project_without_stores_says_so_when_they_are_needed() -> None:
    empty = project(queue={}, jobstore={})
    with pytest.raises(ConfigError, match=r"queue\.store is empty"):
        empty.get_queue_store()
    with pytest.raises(ConfigError, match="jobstore is empty"):
        empty.get_jobstore()


def test_secrets_are_not_shown() -> None:
    shown = project(
        **store(),
        jobstore={"docs_store": {**STORE, "password": "SECRET"}},
        optional_jobstores={"o": {"docs_store": {**STORE, "password": "SECRET"}}},
        exec_config={"e": {"export": {"TOKEN": "SECRET"}}},
    )
    assert "SECRET" not in repr(shown) + str(shown)


def test_who_must_be_there_to_log_in() -> None:
    assert not project(workers={"w": REMOTE}).has_interactive_workers
    assert project(workers={"w": {**REMOTE, "interactive_login": True}}).has_interactive_workers


@pytest.mark.parametrize(
    ("worker", "options", "expected"),
    [
        ({}, {}, len(os.sched_getaffinity(0))),
        ({}, {"local_jobs": 7}, 7),
        ({}, {"local_jobs": None}, None),
        ({"max_jobs": 3}, {"local_jobs": 7}, 3),
        ({"max_jobs": 0}, {}, None),
        ({"scheduler_type": "slurm"}, {}, None),
        ({"type": "remote", "host": "cluster"}, {}, None),
        ({"batch": BATCH, "max_jobs": 2}, {}, None),
    ],
)
def test_a_local_shell_worker_is_limited(worker: dict[str, Any], options: dict[str, Any], expected: int | None) -> None:
    found = project(**workers(**worker), metadata={"jfr_mp": options})
    assert found.job_limits().get("w") == expected
