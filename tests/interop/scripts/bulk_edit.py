"""Change many jobs at once: where and how they run, in which order, and whether they run at all."""

import sys

from jobflow_remote import ConfigManager, JobController
from jobflow_remote.config.base import ExecutionConfig
from jobflow_remote.jobs.state import PAUSABLE_STATES, JobState
from jobflow_remote.utils.db import JobLockedError, LockedDocumentError

cm = ConfigManager()
project = cm.get_project()
jc = project.get_job_controller()
assert isinstance(jc, JobController)
print(sorted(project.workers), sorted(project.exec_config), project.workers["local"].is_local)
print(cm.get_exec_config("gpu").modules, cm.get_worker("other").scheduler_type)

flow_id = jc.get_flow_info_by_job_uuid(jc.get_job_info(db_id=sys.argv[1]).uuid)["uuid"]
ready = jc.get_jobs_info(flow_ids=flow_id, states=PAUSABLE_STATES, sort=[("db_id", 1)])
ids = [info.db_id for info in ready]
print("to change:", ids)

changed = jc.set_job_run_properties(worker="other", priority=3, db_ids=ids)
print("worker:", sorted(changed), {i.worker for i in jc.get_jobs_info(db_ids=ids)})
jc.set_job_run_properties(resources={"nodes": 2}, exec_config="gpu", db_ids=ids[0])
jc.set_job_run_properties(resources={"ntasks": 4}, update=True, db_ids=ids[0])
jc.set_job_run_properties(resources={"ntasks": 1}, update=False, db_ids=ids[1:])
jc.set_job_run_properties(exec_config=ExecutionConfig(pre_run="echo"), job_ids=[(ready[-1].uuid, ready[-1].index)])
for doc in jc.get_jobs_doc(flow_ids=flow_id, sort=[("db_id", 1)]):
    config = doc.exec_config if isinstance(doc.exec_config, str) else doc.exec_config and doc.exec_config.pre_run
    print(doc.db_id, doc.worker, doc.priority, doc.resources, config)

print("paused:", sorted(jc.pause_jobs(db_ids=ids)), jc.count_jobs(flow_ids=flow_id, states=JobState.PAUSED))
print(jc.get_flows_info(flow_ids=flow_id)[0].state.value)
print("resumed:", jc.resume_job(db_id=ids[0]), jc.resume_flow(flow_id=flow_id))
print("stopped:", sorted(jc.stop_jobs(db_ids=ids[:1])), jc.get_job_info(db_id=ids[0]).state.value)
print("resumed:", jc.resume_jobs(db_ids=ids[:1]), jc.get_job_info(db_id=ids[0]).state.value)
jc.set_flow_store("other", flow_id=flow_id)
print("store:", jc.get_flow_store(flow_id))
print("set:", jc.set_job_state(JobState.PAUSED, db_id=ids[-1]))

for act in (
    lambda: jc.set_job_run_properties(worker="nowhere", db_ids=ids),
    lambda: jc.pause_job(db_id=ids[-1]),
    lambda: jc.retry_job(db_id=ids[0]),
    lambda: jc.rerun_job(db_id="no such job"),
):
    try:
        act()
    except ValueError:
        print("refused as a ValueError")

with jc.lock_job(filter={"db_id": ids[0]}) as lock:
    print("locked:", lock.locked_document["db_id"], jc.count_jobs(locked=True))
    try:
        jc.set_job_doc_properties({"priority": 9}, db_id=ids[0])
    except JobLockedError as error:
        print("locked by another:", isinstance(error, LockedDocumentError))
    lock.update_on_release = {"$set": {"priority": 8}}
print("after:", jc.get_job_info(db_id=ids[0]).priority, jc.unlock_jobs(flow_ids=flow_id), jc.unlock_flows())
jc.set_job_doc_properties({"job.metadata.tag": "edited"}, db_id=ids[0], acceptable_states=PAUSABLE_STATES)
print("tagged:", [i.db_id for i in jc.get_jobs_info(metadata={"tag": "edited"})])
jc.close()
