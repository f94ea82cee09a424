"""Run the jobs of one flow by a loop of one's own, which skips the jobs of others and completes jobs itself."""

import sys
import time

from jobflow_remote import JobController
from jobflow_remote.config.base import LogLevel
from jobflow_remote.jobs.runner import Runner
from jobflow_remote.jobs.state import JobState


class CarefulRunner(Runner):
    """Counts what it uploads, and gives every job a mark when it is done."""

    uploaded = 0

    def upload(self, lock):
        self.uploaded += 1
        super().upload(lock)


first = sys.argv[1]
runner = CarefulRunner(log_level=LogLevel.ERROR, runner_id="careful")
jc = runner.job_controller
assert isinstance(jc, JobController)
flow_id = jc.get_flow_info_by_job_uuid(jc.get_job_info(db_id=first).uuid)["uuid"]
mine = {"uuid": {"$in": jc.get_job_uuids([flow_id])}}
print("options", runner.runner_options.max_step_attempts, runner.runner_options.delay_checkout, runner.runner_id)
print("worker", runner.get_worker("local").is_local, runner.get_host("local").is_connected)

moving = [JobState.CHECKED_OUT, JobState.UPLOADED, JobState.SUBMITTED, JobState.RUNNING, JobState.DOWNLOADED]
deadline = time.time() + 100
while jc.count_jobs(flow_ids=flow_id, states=[JobState.READY, *moving]):
    assert time.time() < deadline, [(i.db_id, i.state.value, i.remote.error) for i in jc.get_jobs_info()]
    while jc.checkout_job(query=mine):
        pass
    runner.advance_state(["CHECKED_OUT", "UPLOADED", "RUN_FINISHED"], filter=mine)
    runner.check_run_status(filter=mine)
    with jc.lock_job_for_update(
        query={**mine, "state": JobState.DOWNLOADED.value},
        max_step_attempts=runner.runner_options.max_step_attempts,
        delta_retry=runner.runner_options.delta_retry,
    ) as lock:
        doc = lock.locked_document
        if doc:
            store = runner.get_jobstore(flow_id)
            assert jc.complete_job(doc, doc["run_dir"], store)
            lock.update_on_release = {"$set": {"job.metadata.mark": "done by hand"}}
    time.sleep(0.05)

for info in jc.get_jobs_info(flow_ids=flow_id, sort=[("db_id", 1)]):
    print(info.db_id, info.name, info.state.value, info.metadata.get("mark"), info.is_locked, info.remote.step_attempts)
    if info.state == JobState.COMPLETED:
        print("  gave", jc.get_job_output(job_id=info.uuid, job_index=info.index))
flow = jc.get_flows_info(flow_ids=flow_id)[0]
print("flow", flow.state.value, "uploaded", runner.uploaded)

print("one job:", runner.run_one_job(db_id=sys.argv[2], target_state=JobState.COMPLETED, max_seconds=60))
print(
    jc.get_job_info(db_id=sys.argv[2]).state.value, "left as it is;", jc.count_jobs(states=JobState.READY), "are ready"
)
runner.ping_running_runner({"mine": True})
print("the last ping is of", jc.get_runner_pings()[-1]["runner_id"])
runner.cleanup()
