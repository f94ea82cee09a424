"""`JobController`: jobflow-remote's interface to the jobs and flows of a project, as a table of functions."""

from __future__ import annotations

from jfr_mp.api import (
    administration,
    backup,
    batches,
    bulk,
    commands,
    completing,
    edits,
    raw_documents,
    reading,
    removal,
    upgrade,
)
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
    get_jobs_info_query = reading.get_jobs_info_query
    get_job_info = reading.get_job_info
    get_job_info_by_pid = reading.get_job_info_by_pid
    get_jobs_doc = reading.get_jobs_doc
    get_jobs_doc_query = reading.get_jobs_doc_query
    get_job_doc = reading.get_job_doc
    get_job_output = reading.get_job_output
    get_flows_info = reading.get_flows_info
    get_flow_store = reading.get_flow_store
    count_jobs = reading.count_jobs
    count_flows = reading.count_flows
    count_jobs_states = reading.count_jobs_states
    count_flows_states = reading.count_flows_states
    get_running_runner = reading.get_running_runner
    get_trends = reading.get_trends

    # Reading documents as they are stored
    generate_job_id_query = raw_documents.generate_job_id_query
    generate_flow_id_query = raw_documents.generate_flow_id_query
    get_jobs = raw_documents.get_jobs
    get_jobs_info_by_flow_uuid = raw_documents.get_jobs_info_by_flow_uuid
    get_job_info_by_job_uuid = raw_documents.get_job_info_by_job_uuid
    get_flow_info_by_flow_uuid = raw_documents.get_flow_info_by_flow_uuid
    get_flow_info_by_job_uuid = raw_documents.get_flow_info_by_job_uuid
    get_job_uuids = raw_documents.get_job_uuids
    get_flow_job_aggreg = raw_documents.get_flow_job_aggreg
    get_flow_jobs_data = raw_documents.get_flow_jobs_data

    # Changing jobs and flows
    checkout_job = commands.checkout_job
    stop_job = commands.stop_job
    pause_job = commands.pause_job
    resume_job = commands.resume_job
    retry_job = commands.retry_job
    rerun_job = commands.rerun_job
    update_flow_state = commands.update_flow_state
    lock_job = commands.lock_job
    lock_flow = commands.lock_flow
    lock_job_flow = commands.lock_job_flow
    lock_auxiliary = commands.lock_auxiliary
    lock_job_for_update = completing.lock_job_for_update
    checkin_job = completing.checkin_job
    complete_job = completing.complete_job
    set_job_state = edits.set_job_state
    set_job_doc_properties = edits.set_job_doc_properties
    set_flow_store = edits.set_flow_store
    resume_flow = edits.resume_flow
    stop_children = edits.stop_children
    stop_jobflow = edits.stop_jobflow
    refresh_children = edits.refresh_children
    unlock_jobs = edits.unlock_jobs
    unlock_flows = edits.unlock_flows
    ping_flow_doc = edits.ping_flow_doc

    # Changing all jobs that conditions select
    rerun_jobs = bulk.rerun_jobs
    retry_jobs = bulk.retry_jobs
    pause_jobs = bulk.pause_jobs
    stop_jobs = bulk.stop_jobs
    resume_jobs = bulk.resume_jobs
    set_jobs_state = bulk.set_jobs_state
    set_job_run_properties = bulk.set_job_run_properties

    # Deleting
    safe_delete_files = removal.safe_delete_files
    delete_job = removal.delete_job
    delete_jobs = bulk.delete_jobs
    delete_flow = removal.delete_flow
    delete_flows = removal.delete_flows

    # Managing the database
    add_flow = administration.add_flow
    reset = administration.reset
    build_indexes = administration.build_indexes
    create_indexes = administration.create_indexes
    get_collection = administration.get_collection
    compact = administration.compact
    ping_running_runner = administration.ping_running_runner
    get_runner_pings = administration.get_runner_pings
    clean_runner_pings = administration.clean_runner_pings
    clean_running_runner = administration.clean_running_runner
    unlock_runner = administration.unlock_runner
    backup_dump = backup.backup_dump
    backup_restore = backup.backup_restore
    get_current_db_version = upgrade.get_current_db_version
    update_version_information = upgrade.update_version_information
    upgrade_check_jobflow = upgrade.upgrade_check_jobflow
    upgrade_full_check = upgrade.upgrade_full_check
    check_consistency = administration.check_consistency

    # Batches
    get_batches = batches.get_batches
    count_batches = batches.count_batches
    delete_batches = batches.delete_batches
    get_batch_process_id = batches.get_batch_process_id
    add_batch_process = batches.add_batch_process
    set_running_batch_process = batches.set_running_batch_process
    set_finished_batch_process = batches.set_finished_batch_process
    update_job_in_batch = batches.update_job_in_batch
    fix_batch_doc_jobs = batches.fix_batch_doc_jobs
