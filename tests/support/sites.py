"""The sites of workers that are described in a test; none of them is connected to."""

from __future__ import annotations

from typing import Any

from jfr_mp.batch.site import BatchSite
from jfr_mp.config import Project
from jfr_mp.sites.site import WorkerSite
from jfr_mp.steps.services import Services


def project_with(**workers: dict[str, Any]) -> Project:
    """Return a project with these workers and no database."""
    return Project.model_validate({"name": "p", "queue": {}, "workers": workers})


def services_with(**workers: dict[str, Any]) -> Services:
    """Return the services of a project with these workers."""
    return Services(project_with(**workers), lambda _job: None, lambda _moment: True)


def local_site(**fields: Any) -> WorkerSite:
    """Return the site of a worker on this machine."""
    worker = {"type": "local", "scheduler_type": "shell", "work_dir": "/work", **fields}
    return services_with(w=worker).site("w")


def remote_site(**fields: Any) -> WorkerSite:
    """Return the site of a worker on another host."""
    worker = {"type": "remote", "scheduler_type": "slurm", "work_dir": "/work", "host": "cluster", **fields}
    return services_with(w=worker).site("w")


def batch_site(site: WorkerSite) -> BatchSite:
    """Return a site that is one of a batch worker."""
    assert isinstance(site, BatchSite)
    return site
