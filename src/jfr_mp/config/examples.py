"""The example of a project file that `jfr-mp project generate` writes, to be edited."""

from __future__ import annotations

from typing import Any

_SERVER = {"host": "mongodb.example.org", "port": 27017, "database": "my_jobs", "username": "me", "password": "secret"}


def example_project(name: str, *, full: bool = False) -> dict[str, Any]:
    """Return the fields of an example: a Slurm cluster and a database on a server.

    Parameters
    ----------
    name
        The name of the project.
    full
        Whether to add a local worker and an exec_config.
    """
    cluster = {
        "type": "remote",
        "host": "cluster.example.org",
        "user": "me",
        "scheduler_type": "slurm",
        "work_dir": "/scratch/me/jobs",
        "pre_run": "source /home/me/venv/bin/activate",
        "timeout_execute": 60,
    }
    local = {"type": "local", "scheduler_type": "shell", "work_dir": "/home/me/jobs", "timeout_execute": 60}
    config = {
        "modules": ["intel/2024.2", "VASP/6.4"],
        "export": {"OMP_NUM_THREADS": "1"},
        "pre_run": "ulimit -s unlimited",
    }
    return {
        "name": name,
        "workers": {"cluster": cluster, **({"local": local} if full else {})},
        "exec_config": {"vasp": config} if full else {},
        "queue": {"store": {"type": "MongoStore", **_SERVER, "collection_name": "jobs"}},
        "jobstore": {
            "docs_store": {"type": "MongoStore", **_SERVER, "collection_name": "outputs"},
            "additional_stores": {"data": {"type": "GridFSStore", **_SERVER, "collection_name": "outputs_data"}},
        },
    }
