"""`JobController`: jobflow-remote's interface to the jobs and flows of a project, as a table of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

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
from jfr_mp.config import ConfigManager, Project, QueueConfig
from jfr_mp.database.connection import QueueDatabase

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.stores import MongoStore


class ScriptDatabase(QueueDatabase):
    """The queue database, which also has the methods of pymongo's Database, for scripts of jobflow-remote's users."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "db" not in vars(self):
            raise AttributeError(name)
        return getattr(self.db, name)

    def __getitem__(self, collection: str) -> Any:
        return self.db[collection]

    @classmethod
    def of_stores(
        cls,
        queue_store: MongoStore,
        jobstore: JobStore | None,
        collections: tuple[str, str, str],
        project: Project | None,
    ) -> Self:
        """Return the database of a maggma store, with the names of the collections of flows, auxiliary and batches."""
        names = ("flows_collection", "auxiliary_collection", "batches_collection")
        fields = {"store": queue_store.as_dict(), **dict(zip(names, collections, strict=True))}
        if project is None:
            outputs = {"jobstore": jobstore.as_dict()} if jobstore else {}
            project = Project.model_validate({"name": "script", "queue": fields, **outputs})
        else:
            project = project.model_copy(update={"queue": QueueConfig.model_validate(fields)})
        return cls.of_store(queue_store, project)


class JobController(ProjectAccess):
    """Read and change the jobs and flows of a project.

    Methods and parameters are those of jobflow-remote's JobController. The functions that implement them are in one
    module per concern.

    Parameters
    ----------
    queue_store
        The maggma store of the jobs, or the queue database of a project.
    jobstore
        The JobStore for outputs; None for that of the project.
    flows_collection, auxiliary_collection, batches_collection
        The names of the other collections, in the database of a store.
    project
        The project of a store; None for one without workers.
    optional_jobstores
        The optional JobStores by name; None for those of the project.

    Attributes
    ----------
    db
        The database, which pymongo's methods and names of collections are applied to.
    jobs_collection, flows_collection, auxiliary_collection, batches_collection : str
        The names of the collections.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
        queue_store: QueueDatabase | MongoStore,
        jobstore: JobStore | None = None,
        flows_collection: str = "flows",
        auxiliary_collection: str = "jf_auxiliary",
        batches_collection: str = "batches",
        project: Project | None = None,
        optional_jobstores: dict[str, JobStore] | None = None,
    ) -> None:
        if not isinstance(queue_store, QueueDatabase):
            collections = (flows_collection, auxiliary_collection, batches_collection)
            queue_store = ScriptDatabase.of_stores(queue_store, jobstore, collections, project)
        super().__init__(queue_store)
        for name, stores in (("jobstore", [jobstore]), ("optional_jobstores", [*(optional_jobstores or {}).values()])):
            for store in filter(None, stores):
                store.connect()
                # Takes the place of the store that the project describes.
                vars(self)[name] = jobstore if name == "jobstore" else optional_jobstores
        self.jobs_collection, self.flows_collection = self.db.jobs.name, self.db.flows.name
        self.auxiliary_collection, self.batches_collection = self.db.auxiliary.name, self.db.batches.name

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
        return cls(ScriptDatabase.connect(project))

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
