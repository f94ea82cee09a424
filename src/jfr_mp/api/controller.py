"""`JobController`: jobflow-remote's interface to the jobs and flows of a project, as a table of functions."""

from __future__ import annotations

from jfr_mp.api import administration, commands, reading
from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import ConfigManager, Project
from jfr_mp.database.connection import QueueDatabase


class JobController(ProjectAccess):
    """Read and change the jobs and flows of a project.

    Methods and parameters are those of jobflow-remote's JobController. The functions that implement them are in one
    module per concern.

    Parameters
    ----------
    db
        The queue database of the project.
    """

    @classmethod
    def from_project_name(cls, project_name: str | None = None) -> JobController:
        """Return the controller of a project; None for the project chosen in the settings."""
        return cls.from_project(ConfigManager().get_project(project_name))

    @classmethod
    def from_project(cls, project: Project) -> JobController:
        """Return the controller of a project.

        Raises
        ------
        DatabaseError
            The queue database is unreachable or refused the connection.
        """
        return cls(QueueDatabase.connect(project))

    # Reading jobs and flows
    get_jobs_info = reading.get_jobs_info
    get_job_info = reading.get_job_info
    get_job_doc = reading.get_job_doc
    get_job_output = reading.get_job_output
    get_flows_info = reading.get_flows_info
    get_flow_store = reading.get_flow_store
    count_jobs = reading.count_jobs
    count_flows = reading.count_flows
    count_jobs_states = reading.count_jobs_states
    count_flows_states = reading.count_flows_states
    get_running_runner = reading.get_running_runner

    # Changing jobs
    checkout_job = commands.checkout_job
    stop_job = commands.stop_job
    pause_job = commands.pause_job
    resume_job = commands.resume_job
    retry_job = commands.retry_job
    rerun_job = commands.rerun_job
    update_flow_state = commands.update_flow_state
    lock_job = commands.lock_job
    lock_flow = commands.lock_flow

    # Managing the database
    add_flow = administration.add_flow
    reset = administration.reset
    build_indexes = administration.build_indexes
