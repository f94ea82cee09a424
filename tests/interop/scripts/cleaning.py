"""Throw away what nobody needs: failed flows, outputs, files, old records, locks."""

import logging
import sys
from pathlib import Path

from jobflow_remote import JobController, get_jobstore
from jobflow_remote.jobs.data import DbCollection
from jobflow_remote.jobs.state import ERROR_STATES, BatchState, FlowState, JobState

logging.disable(logging.CRITICAL)
jc = JobController.from_project_name()
keep = set(sys.argv[1:])


def tell(what):
    outputs = get_jobstore()
    outputs.connect()
    print(what, jc.count_jobs(), jc.count_flows(), outputs.count(), len(jc.get_batches(limit=0)))
    outputs.close()


tell("before")
bad = [f.flow_id for f in jc.get_flows_info(states=[FlowState.FAILED, FlowState.STOPPED]) if f.name not in keep]
try:
    jc.delete_flows(flow_ids=None, max_limit=1)
except ValueError:
    print("too many at once")
deleted = jc.delete_flows(flow_ids=bad, max_limit=10, delete_output=True, delete_files=True)
print("deleted flows:", len(deleted), sorted(deleted) == sorted(bad), jc.delete_flow(flow_id=bad[0]))
tell("after the flows")

done = jc.get_jobs_info(states=JobState.COMPLETED, sort=[("db_id", 1)])
where = [Path(info.run_dir) for info in done if info.run_dir]
print("files:", sum(path.is_dir() for path in where))
removed = jc.safe_delete_files(done[:2])
print("removed:", [info.db_id for info in removed], sum(path.is_dir() for path in where))

last = jc.get_jobs_info(states=JobState.WAITING, sort=[("db_id", 1)])[-1]
print("job:", jc.delete_job(db_id=last.db_id) == last.db_id, jc.get_job_info(db_id=last.db_id))
flow = jc.get_flow_info_by_job_uuid(last.uuid)
print("its flow:", flow and [row[0] for row in flow["ids"]])
rest = [i.db_id for i in jc.get_jobs_info(states=ERROR_STATES)]
print("in trouble:", rest)

print("batches:", jc.count_batches(worker="local"), jc.delete_batches(batch_state=[BatchState.FINISHED]))
print("pings:", len(jc.get_runner_pings()))
jc.clean_runner_pings()
print("none:", jc.get_runner_pings(), jc.get_running_runner() is None)
jc.create_indexes(["job.metadata.tag"], collection=DbCollection.JOBS)
print("index:", "job.metadata.tag_1" in jc.jobs.index_information())
jc.build_indexes(drop=True)
print("rebuilt:", "job.metadata.tag_1" in jc.jobs.index_information(), "db_id_1" in jc.jobs.index_information())
print("locks:", jc.unlock_jobs(states=[JobState.READY]), jc.unlock_flows(name="*"), jc.unlock_runner())
print("not reset:", jc.reset(max_limit=1), jc.db[jc.jobs_collection].estimated_document_count() > 0)
tell("after all")
jc.close()
