"""A small flow with everything that a completion can do; each execution of a job signs a ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobflow import Flow, Response, job

from tests.support.jobs import sign

#: What the ledger holds, sorted, when each job of `dynamic_flow` ran once.
SIGNATURES = ["child", "detour", "detoured", "replaced", "replacement"]


@job
def signs(ledger: str, name: str, after: Any = None) -> str:
    """Sign."""
    sign(ledger, name)
    return name


@job
def fails(ledger: str, name: str) -> None:
    """Sign, and fail as a bug in a job does."""
    sign(ledger, name)
    raise RuntimeError("this job fails")


@job
def uses_up_memory(ledger: str, name: str) -> None:
    """Sign, and take memory until there is none."""
    sign(ledger, name)
    taken = []
    while True:
        taken.append(bytearray(2**24))


@job
def uses_up_memory_together(ledger: str, name: str) -> None:
    """Sign, and take memory in processes that are smaller than this one, until the kernel has killed the job."""
    sign(ledger, name)
    program = "import time; taken = bytearray(2**25); time.sleep(1000)"
    while True:
        subprocess.Popen([sys.executable, "-I", "-S", "-c", program])


@job
def is_killed(ledger: str, name: str) -> None:
    """Sign, and end as the out-of-memory killer ends a job."""
    sign(ledger, name)
    os.kill(os.getpid(), signal.SIGKILL)


@job
def is_replaced(ledger: str) -> Response[Any]:
    """Sign, and be replaced."""
    sign(ledger, "replaced")
    return Response(replace=signs(ledger, "replacement"))


@job
def detours(ledger: str) -> Response[Any]:
    """Sign, and let another job run before the children of this one."""
    sign(ledger, "detoured")
    return Response(output="detoured", detour=Flow([signs(ledger, "detour")]))


def dynamic_flow(ledger: Path) -> Flow:
    """Return a flow of a job that is replaced, a job with a detour, and a child of both."""
    replaced, detoured = is_replaced(str(ledger)), detours(str(ledger))
    return Flow([replaced, detoured, signs(str(ledger), "child", [replaced.output, detoured.output])])
