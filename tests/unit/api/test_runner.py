"""`Runner` has the members and signatures of jobflow-remote's."""

from __future__ import annotations

import inspect

import pytest

from jfr_mp import Runner

#: As the reference page of jobflow-remote's Runner prints them, with the parameters that version 1.0.1 has added.
REFERENCE = {
    "__init__": "(project_name: str | None = None, log_level: LogLevel | None = None, runner_id: str | None = None, "
    "connect_interactive: bool = False, daemon_id: str | None = None)",
    "advance_state": "(states: list[str], filter: dict | None = None) -> None",
    "check_run_status": "(filter: dict | None = None) -> None",
    "checkout": "() -> None",
    "cleanup": "() -> None",
    "complete_job": "(lock) -> None",
    "download": "(lock) -> None",
    "get_host": "(worker_name: str) -> BaseHost",
    "get_queue_manager": "(worker_name: str) -> QueueManager",
    "get_worker": "(worker_name: str) -> WorkerBase",
    "handle_signal": "(signum, frame) -> None",
    "refresh_num_current_jobs": "() -> None",
    "run": "(transfer: bool = True, complete: bool = True, queue: bool = True, checkout: bool = True, "
    "ticks: int | None = None) -> None",
    "run_all_jobs": "(max_seconds: int | None = None, wait_for_batches: bool = False) -> None",
    "run_one_job": "(db_id: str | None = None, job_id: tuple[str, int] | None = None, max_seconds: int | None = None, "
    "raise_at_timeout: bool = True, target_state: JobState | None = None) -> bool",
    "submit": "(lock: MongoLock) -> None",
    "update_batch_jobs": "(submit: bool = True) -> None",
    "upload": "(lock: MongoLock) -> None",
}

#: The public methods of version 1.0.1 that the reference page does not have.
FURTHER = {
    "batch_get_process_id": ["batch_processes", "batch_uid", "worker_name", "worker"],
    "batch_update_run_finished_jobs": ["batch_manager", "worker_name", "worker"],
    "batch_update_running_jobs": ["batch_manager", "worker_name", "worker"],
    "batch_update_status": ["batch_manager", "queue_manager", "worker_name", "worker", "running_jobs"],
    "get_jobstore": ["flow_id"],
    "ping_running_runner": ["run_options"],
    "submit_batch_processes": ["queue_manager", "worker_name", "worker", "running_batch_processes"],
}


def signature_of(member: str) -> str:
    """Return the signature of a method as a reader of the reference sees it, without self."""
    signature = inspect.signature(getattr(Runner, member))
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    text = str(signature.replace(parameters=parameters)).replace("'", "")
    return text.removesuffix(" -> None") if member == "__init__" else text


@pytest.mark.parametrize("member", REFERENCE)
def test_signature(member: str) -> None:
    assert signature_of(member) == REFERENCE[member]


@pytest.mark.parametrize("member", FURTHER)
def test_parameters(member: str) -> None:
    assert list(inspect.signature(getattr(Runner, member)).parameters)[1:] == FURTHER[member]


def test_runner_options_is_a_property() -> None:
    prop = inspect.getattr_static(Runner, "runner_options")
    assert isinstance(prop, property)
    assert prop.fget is not None
    assert inspect.signature(prop.fget).return_annotation == "RunnerOptions"


def test_nothing_else_is_public() -> None:
    public = {name for name in dir(Runner) if not name.startswith("_")}
    assert public == set(REFERENCE) - {"__init__"} | {"runner_options", *FURTHER}
