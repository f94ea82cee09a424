"""Summarise a project for its group: what is running, what came out lately, how flows hang together."""

from collections import Counter

from jobflow_remote import SETTINGS, ConfigManager, JobController
from jobflow_remote.jobs.daemon import DaemonManager, DaemonStatus
from jobflow_remote.jobs.graph import get_graph, get_mermaid
from jobflow_remote.jobs.report import FlowsReport, JobsReport
from jobflow_remote.jobs.state import FlowState, JobState

project = ConfigManager().get_project(SETTINGS.project)
jc = JobController.from_project(project)
print(f"project {project.name == SETTINGS.project}, {len(project.workers)} workers, level {project.log_level.value}")

report = JobsReport.generate_report(jc, interval="days", num_intervals=3, timezone="Europe/Berlin")
print("running", report.running, "completed", report.completed, "error", report.error, "active", report.active)
print("states", sorted((state.value, count) for state, count in report.state_counts.items() if count))
print("workers", sorted(report.worker_utilization.items()))
print("longest", [info.db_id for info in report.longest_running])
trends = report.trends
print(trends.interval, trends.num_intervals, trends.timezone)
for date, good, bad, ugly in zip(trends.dates, trends.completed, trends.failed, trends.remote_error):
    print(f"  {date}  {good:3d} {bad:3d} {ugly:3d}")

flows = FlowsReport.generate_report(jc, interval="weeks", num_intervals=2)
print("flows", flows.running, flows.completed, flows.error, flows.trends.dates, flows.trends.completed)
for interval in ("hours", "days", "weeks", "months", "years"):
    found = jc.get_trends([JobState.COMPLETED, JobState.FAILED], interval=interval, num_intervals=2)
    counts = Counter()
    for of_interval in found.values():
        counts.update({state.value: number for state, number in of_interval.items()})
    print(interval, len(found), sorted(found) == sorted(set(found)), dict(sorted(counts.items())))
print("flow trends", len(jc.get_trends([FlowState.COMPLETED], interval="months")))

for info in jc.get_flows_info(sort=[("name", 1)], with_jobs_info=True):
    graph = get_graph(info)
    print(info.name, graph.number_of_nodes(), graph.number_of_edges(), "flowchart" in get_mermaid(info))

print("versions", jc.get_current_db_version(), jc.upgrade_check_jobflow() or "same jobflow")
manager = DaemonManager.from_project(project)
print("daemon", manager.check_status().value, manager.check_status() == DaemonStatus.SHUT_DOWN)
print("processes", manager.get_processes_info(), "matching", manager.check_matching_runner())
worker = project.workers["local"]
host = worker.get_host()
host.connect()
folder = worker.work_dir / "report"
print("folder", host.mkdir(folder), host.exists(folder), host.listdir(folder))
host.write_text_file(folder / "summary.txt", f"{report.completed} jobs\n")
print("text", host.read_text_file(folder / "summary.txt").strip(), host.execute(f"ls {folder}"))
print("gone", host.rmtree(folder), host.exists(folder), host.test())
host.close()
jc.close()
