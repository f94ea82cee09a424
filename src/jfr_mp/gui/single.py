"""The pages of one job and of one flow, and the parts of them that are read from stores and hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jfr_mp.database import overview, queries
from jfr_mp.database.flow_lookup import reported_flow
from jfr_mp.diagnosis import explain_job
from jfr_mp.errors import HostError, JfrMpError, NotFound
from jfr_mp.gui import figures
from jfr_mp.gui.action_table import FLOW_BUTTONS, JOB_ACTIONS
from jfr_mp.gui.downloads import LARGEST, sent
from jfr_mp.gui.rendering import MOST_SHOWN, as_json
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT
from jfr_mp.jobdata.listing import Entry, files_of
from jfr_mp.states import RUNNING_STATES

if TYPE_CHECKING:
    from starlette.responses import Response

    from jfr_mp.gui.views import View
    from jfr_mp.hosts import BaseHost
    from jfr_mp.model import JobInfo

#: How many files of a run directory are listed.
_MOST_FILES = 2_000
#: Bytes of the names of files that are read from a host.
_MOST_LISTED = 8 * 2**20


@dataclass(frozen=True)
class Text:
    """A text file of a job.

    Parameters
    ----------
    name
        The name of the file.
    text
        Its end; None if it does not exist.
    cut
        Whether the beginning is missing.
    saved
        Whether it is the excerpt that was saved with the job.
    """

    name: str
    text: str | None
    cut: bool = False
    saved: bool = False


def job_page(view: View) -> Response:
    """Show one job: why it is in its state, what has happened to it, and links to everything that belongs to it."""
    job = _job(view)
    explanation = explain_job(view.db, db_id=job.db_id)
    siblings = queries.latest_jobs(view.db, job.parents or ())
    return view.page(
        "job.html",
        f"Job {job.db_id}",
        live=f"job={job.db_id}",
        job=job,
        reasons=explanation.reasons,
        parents=[(uuid, siblings[uuid].job if uuid in siblings else None) for uuid in job.parents or ()],
        flow_id=reported_flow(view.db, job.uuid, job.hosts),
        moments=_moments(view, job),
        actions={name: row for name, row in JOB_ACTIONS.items() if row.fits(job)},
        moves=job.state in RUNNING_STATES,
    )


def inputs_part(view: View) -> Response:
    """Show the inputs of a job, as the queue database has them."""
    document = queries.job_doc(view.db, db_id=_job(view).db_id)
    job: dict[str, Any] = document.job if document else {}
    shown = {name: job.get(name) for name in ("function", "function_args", "function_kwargs")}
    settings = {"exec_config": document.exec_config, "resources": document.resources} if document else {}
    text, cut = as_json({**shown, **settings, "metadata": job.get("metadata")})
    return view.page("value.html", "Inputs", text=text, cut=cut, what="Inputs", job_id=view.part("db_id"))


def output_part(view: View) -> Response:
    """Show the output of a job, as the JobStore has it."""
    job = _job(view)
    try:
        value = view.opened.controller.get_job_output(db_id=job.db_id)
    except ValueError:
        raise NotFound(f"job {job.db_id} is {job.state.name} and has no output") from None
    text, cut = as_json(value)
    return view.page("value.html", "Output", text=text, cut=cut, what="Output", job_id=job.db_id)


def queue_part(view: View) -> Response:
    """Show the end of the standard output and error of the submission script."""
    job = _job(view)
    kept = {QUEUE_OUT: job.remote.queue_out, QUEUE_ERR: job.remote.queue_err}
    error = None
    try:
        texts = _on_host(view, job, lambda host, run_dir: [_text(host, run_dir, name) for name in kept])
    except JfrMpError as refusal:
        error = str(refusal)
        texts = [Text(name, None) for name in kept]
    texts = [Text(each.name, kept[each.name], saved=True) if each.text is None else each for each in texts]
    follows = job.state in RUNNING_STATES and error is None
    return view.page("queue.html", "Output files", job=job, texts=texts, error=error, follows=follows)


def files_part(view: View) -> Response:
    """List the files in the run directory of a job."""
    job = _job(view)
    entries = _on_host(view, job, lambda host, run_dir: _files(view, job, host, run_dir))
    return view.page("files.html", "Files", job=job, entries=entries[:_MOST_FILES], number=len(entries))


def download(view: View) -> Response:
    """Send a file of the run directory of a job; only names that the list of files has are possible."""
    job = _job(view)
    name = view.params.get("name", "")

    def copy(host: BaseHost, run_dir: str, target: Path) -> None:
        if name not in {entry.name for entry in _files(view, job, host, run_dir)}:
            raise NotFound(f"the run directory of job {job.db_id} has no file {name[:200]!r}")
        host.get(f"{run_dir}/{name}", target, limit=LARGEST)

    def copy_to(target: Path) -> None:
        _on_host(view, job, lambda host, run_dir: copy(host, run_dir, target))

    return sent(PurePosixPath(name).name, copy_to)


def flow_page(view: View) -> Response:
    """Show one flow: its graph, and its jobs by state."""
    flow_id = view.part("flow_id")
    flow = overview.flow_row(view.db, flow_id)
    if flow is None:
        raise NotFound(f"there is no flow {flow_id[:64]}")
    members = view.opened.members(flow.flow_id)
    return view.page(
        "flow.html",
        flow.name,
        live=f"flow={flow.flow_id}",
        flow=flow,
        counts=Counter(job.state for job in members),
        drawing=figures.drawing(members),
        actions=FLOW_BUTTONS,
    )


def _job(view: View) -> JobInfo:
    db_id = view.part("db_id")
    job = queries.job_info(view.db, db_id=db_id)
    if job is None:
        raise NotFound(f"there is no job {db_id[:64]}")
    return job


def _moments(view: View, job: JobInfo) -> list[tuple[datetime, str, str | None]]:
    """Return what has happened to a job: what its document tells, and what the server has followed."""
    told: list[tuple[datetime | None, str, str | None]] = [
        (job.created_on, "created", None),
        (job.start_time, "started on the worker", "RUNNING"),
        (job.end_time, "ended on the worker", "RUN_FINISHED"),
    ]
    events = view.opened.hub.of_job(job.db_id)
    told += [(event.time, "entered", event.state) for event in events if event.kind == "state"]
    if not any(event.state == job.state.value for event in events):
        told.append((job.updated_on, "last change, in state", job.state.value))
    return sorted((time, what, state) for time, what, state in told if time is not None)


def _files(view: View, job: JobInfo, host: BaseHost, run_dir: str) -> list[Entry]:
    return files_of(host, run_dir, timeout=_timeout(view, job), most_bytes=_MOST_LISTED)


def _timeout(view: View, job: JobInfo) -> float | None:
    return view.opened.project.worker(job.worker).timeout_execute


def _on_host(view: View, job: JobInfo, read: Callable[[BaseHost, str], Any]) -> Any:
    """Read something in the run directory of a job; one request of a worker at a time.

    Raises
    ------
    NotFound
        The job has no directory yet.
    HostError
        The host cannot be used.
    """
    if not job.run_dir:
        raise NotFound(f"job {job.db_id} is {job.state.name} and has no directory on its worker yet")
    lock = view.opened.host_locks[job.worker]
    if not lock.acquire(timeout=10):
        raise HostError(f"worker {job.worker} has not answered an earlier request yet; try again")
    try:
        return read(view.opened.controller.services.site(job.worker).host, job.run_dir)
    finally:
        lock.release()


def _text(host: BaseHost, run_dir: str, name: str) -> Text:
    path = f"{run_dir}/{name}"
    size = host.size(path)
    if size is None:
        return Text(name, None)
    begin = max(size - MOST_SHOWN, 0)
    content = host.read_from(path, begin, limit=MOST_SHOWN)
    return Text(name, content.decode(errors="replace"), cut=begin > 0)
