"""Look through the jobs and flows of a project: what failed and why, what depends on what, what came out."""

from jobflow_remote import JobController, get_jobstore
from jobflow_remote.jobs.data import FlowDoc, JobInfo
from jobflow_remote.jobs.state import ERROR_STATES, FlowState, JobState
from jobflow_remote.utils.data import check_valid_uuid, convert_utc_time

jc = JobController.from_project_name()
print("jobs by state:")
counts = jc.count_jobs_states(list(JobState))
for state, count in sorted(counts.items(), key=lambda item: item[0].value):
    if count:
        print(f"  {state.value} ({state.short_value}): {count}")
print("flows by state:", sorted((s.value, n) for s, n in jc.count_flows_states(list(FlowState)).items() if n))

print("in trouble:")
for info in jc.get_jobs_info(states=ERROR_STATES, sort=[("db_id", 1)]):
    last = (info.error or info.remote.error or "").strip().splitlines()[-1]
    print(f"  {info.db_id} {info.name} on {info.worker}: {info.state.name}: {last}")
    print("   ", info.is_locked, info.run_time is not None, info.updated_on.tzinfo, info.priority)

print("adding jobs:", [i.db_id for i in jc.get_jobs_info(name="f*", sort=[("db_id", -1)], limit=3)])
print("waiting:", jc.count_jobs(states=JobState.WAITING), "of", jc.count_jobs())
newest = max(i.created_on for i in jc.get_jobs_info())
print("older than the newest:", jc.count_jobs(query={"created_on": {"$lt": newest}}))
print("newest:", convert_utc_time(newest).tzinfo is not None, jc.count_flows(start_date=convert_utc_time(newest)))

for flow in jc.get_flows_info(sort=[("name", 1)], with_jobs_info=True):
    print(flow.name, flow.state.value, sorted(set(flow.workers)), len(flow.db_ids), sorted(flow.job_names))
    for row in flow.iter_job_prop():
        assert row["db_id"] == flow.ids_mapping[row["uuid"]][row["index"]]
    doc = FlowDoc.model_validate(jc.get_flow_info_by_flow_uuid(flow.flow_id))
    for uuid in sorted(doc.children, key=lambda each: sorted(doc.ids_mapping[each].values())):
        after = sorted(doc.ids_mapping[child][n] for child, n in doc.descendants(uuid))
        print("   ", sorted(doc.ids_mapping[uuid].values()), "->", after)

done = jc.get_jobs_info(states=JobState.COMPLETED, sort=[("db_id", 1)])
for info in done[:5]:
    print(info.db_id, "gave", jc.get_job_output(db_id=info.db_id), check_valid_uuid(info.uuid))
job_doc = jc.get_job_doc(job_id=done[0].uuid, job_index=done[0].index)
print(type(job_doc.job).__name__, job_doc.job.name, job_doc.job.function_args, job_doc.resources, job_doc.exec_config)
print(sorted(job_doc.as_db_dict()))
same = jc.get_job_info_by_job_uuid(job_doc.uuid, projection=["uuid", "db_id", "job.name", "job.metadata"])
print(same["db_id"], same["job"]["name"], sorted(jc.get_jobs({"db_id": "1"}, ["db_id"])[0]))

for entry in jc.get_flow_job_aggreg(
    projection_flow={"name": 1, "state": 1}, projection_job={"db_id": 1}, sort=[("name", 1)], jobs_sort=[("db_id", 1)]
):
    print(entry["name"], [j["db_id"] for j in entry["jobs_list"]])

query, order = jc.generate_job_id_query(job_id=job_doc.uuid)
print(sorted(query), order, jc.generate_flow_id_query(db_id="1"))
try:
    jc.generate_job_id_query()
except ValueError:
    print("one of job_id and db_id is needed")
print(jc.get_job_info(db_id="no such job"), jc.get_job_info_by_pid("no such process"))
with get_jobstore() as store:
    print("outputs:", store.count(), store.query_one({"uuid": job_doc.uuid}, ["output"])["output"])
assert all(isinstance(i, JobInfo) for i in done)
jc.close()
