"""What the real kernel of a notebook shows: jobs, flows, reports, explanations, and the progress of a wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jfr_mp import submit_flow
from tests.support.jobs import chain
from tests.support.kernel import Cell, Kernel
from tests.support.projects import ProjectFactory, TestProject

_NAME = "<script>alert('name')</script>"
_ERROR = "Traceback\n  <b>line</b>\nValueError: <img src=x onerror=alert(1)>\x1b[2J"
_ESCAPED = "&lt;script&gt;alert(&#x27;name&#x27;)&lt;/script&gt;"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def kernel(project: TestProject) -> Iterator[Kernel]:
    kernel = Kernel(project.env)
    yield kernel
    kernel.close()


@pytest.fixture
def db_ids(project: TestProject) -> list[str]:
    """A flow of three jobs: the first one has a script as its name, and has failed with HTML as its error."""
    flow = chain(3)
    flow.name = _NAME
    db_ids = submit_flow(flow)
    change(project, db_ids[0], state="FAILED", error=_ERROR, previous_state="RUN_FINISHED", **{"job.name": _NAME})
    return db_ids


def change(project: TestProject, db_id: str, **fields: object) -> None:
    project.db.jobs.update_one({"db_id": db_id}, {"$set": fields})


def html(cell: Cell) -> str:
    assert not cell.error, cell
    return cell.displays[-1]["text/html"]


def test_infos_and_reports(kernel: Kernel, project: TestProject, db_ids: list[str]) -> None:
    # Given a notebook with a controller, and a job whose texts are HTML
    setup = """
        from jfr_mp import JobController
        from jfr_mp.api.report import FlowsReport, JobsReport
        from jfr_mp.diagnosis import explain_job
        controller = JobController.from_project_name()
    """
    assert not kernel.run("\n".join(line.strip() for line in setup.splitlines())).error

    # When cells end with it, its flow, its explanation and the reports
    job = html(kernel.run(f"controller.get_job_info(db_id={db_ids[0]!r})"))
    flow = html(kernel.run(f"controller.get_flows_info(db_ids={db_ids[0]!r}, with_jobs_info=True)[0]"))
    why = html(kernel.run(f"explain_job(controller.db, db_id={db_ids[1]!r})"))
    jobs_report = html(kernel.run("JobsReport.generate_report(controller)"))
    flows_report = html(kernel.run("FlowsReport.generate_report(controller)"))

    # Then each has what is known, and all texts are escaped
    for shown in (job, flow, why):
        assert _ESCAPED in shown
        assert "<script" not in shown
        assert "\x1b" not in shown
    for shown in (job, flow):
        assert "<img" not in shown
    assert "it ran and failed: ValueError: &lt;img" in job
    assert "&lt;b&gt;line&lt;/b&gt;" in job
    assert "created" in job
    assert "FAILED from RUN_FINISHED" in job
    assert "last change" in flow
    assert flow.index(f'<td style="text-align:left">{db_ids[0]}<') < flow.index(f">{db_ids[1]}<")
    assert f"it waits for job {db_ids[0]}" in why
    assert f"`jfr-mp job rerun {db_ids[0]}`" in why
    assert "FAILED" in jobs_report
    assert "Last 7 days [UTC]" in jobs_report
    assert "Jobs by worker" in jobs_report
    assert "Longest running" not in jobs_report
    assert "Last 7 days [UTC]" in flows_report

    # And the figures are pictures
    inline = kernel.run("%matplotlib inline\nJobsReport.generate_report(controller).figure()")
    assert "image/png" in inline.displays[-1]
    assert "image/png" in kernel.run("FlowsReport.generate_report(controller).figure()").displays[-1]


def test_the_progress_of_a_wait_is_one_display(kernel: Kernel, project: TestProject, db_ids: list[str]) -> None:
    # Given a cell that waits for a flow, one job of which runs
    change(project, db_ids[1], state="RUNNING")
    change(project, db_ids[2], state="COMPLETED")

    # When the job fails after the display has appeared
    def meanwhile(cell: Cell) -> None:
        if any("1 <span" in update["text/html"] for update in cell.updates):
            change(project, db_ids[1], state="FAILED", error=_ERROR)

    cell = kernel.run(f"from jfr_mp import wait_for; states = wait_for({db_ids[:1]}, flows=True)", meanwhile)

    # Then one display has been updated, and has the end with all texts escaped
    assert (cell.error, cell.stderr, len(cell.displays)) == ("", "", 1)
    before, after = cell.updates[0], cell.displays[0]
    assert "2 of 3 jobs ended" in before["text/plain"]
    assert "3 of 3 jobs ended" in after["text/plain"]
    assert '<progress max="3" value="3">' in after["text/html"]
    assert f"Job {db_ids[0]} ({_ESCAPED}): FAILED" in after["text/html"]
    assert "<script" not in after["text/html"] + after["text/plain"].replace(_NAME, "")
    assert "<img" not in after["text/html"]


def test_the_stop_button_ends_the_wait_alone(kernel: Kernel, project: TestProject, db_ids: list[str]) -> None:
    interrupted: list[bool] = []

    def meanwhile(cell: Cell) -> None:
        if cell.updates and not interrupted:
            interrupted.append(True)
            kernel.interrupt()

    change(project, db_ids[0], state="RUNNING")
    cell = kernel.run(f"from jfr_mp import wait_for; wait_for({db_ids})", meanwhile)
    assert cell.error == "KeyboardInterrupt"
    again = f"`jfr-mp job wait {' '.join(db_ids)}`"
    assert cell.stderr == f"Stopped waiting; the jobs are not affected. Wait again with {again}.\n"
    assert project.db.jobs.distinct("state") == ["RUNNING", "WAITING"]
