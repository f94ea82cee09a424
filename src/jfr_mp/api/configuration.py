"""The public `ConfigManager`, whose projects provide access to their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jfr_mp import config

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController


class Project(config.Project):
    """A project with the method `get_job_controller`, as in jobflow-remote."""

    def get_job_controller(self) -> JobController:
        """Return a controller for the jobs of this project."""
        from jfr_mp.api.controller import JobController

        return JobController.from_project(self)


class ConfigManager(config.ConfigManager):
    """The projects of the user; see `jfr_mp.config.ConfigManager`."""

    project_class = Project
