#!/usr/bin/env python3
"""Run real flows of atomate2 and quacc on four processes, and compare their outputs with those of `run_locally`.

The first run makes a virtual environment in .real_flows/ of this checkout and installs the packages from the index. The
exit code is 0 if all flows are equal. A flow that differs is run here again with its jobs serialised, as they are for
any other machine: some classes lose attributes on the way, with every runner. Arguments select flows by a part of their
name. `tox -e real` runs some of the flows of quacc in an environment without atomate2.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(os.environ.get("JFR_MP_REAL_FLOWS_ENV", CHECKOUT / ".real_flows" / "venv"))
PACKAGES = (f"{CHECKOUT}[embedded]", "atomate2", "quacc[phonons]", "phonopy", "seekpath")

#: Seconds in which all flows end.
PATIENCE = 600.0
#: What differs between two runs of the same calculation: directories, times and identifiers (quacc hashes them).
_VARYING = re.compile(r"dir|uuid|time|date|nid|hosts|host|path|created|completed|modified|^_id$", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def main() -> int:
    """Run the flows in the environment that has the packages."""
    python = ENVIRONMENT / "bin" / "python"
    if Path(sys.prefix) != ENVIRONMENT:
        if not (ENVIRONMENT / "installed").exists():
            print(f"Installing atomate2 and quacc into {ENVIRONMENT} (once; some minutes)", flush=True)
            venv.create(ENVIRONMENT, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", *PACKAGES], check=True)
            (ENVIRONMENT / "installed").touch()
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    # So that the processes of the project are stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="jfr_mp_real_flows_") as directory, chdir(directory):
        os.environ |= {
            "JFREMOTE_PROJECTS_FOLDER": directory,
            "JFREMOTE_PROJECT": "real",
            # Workers run jobs with the first jfr-mp on the PATH.
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "QUACC_WORKFLOW_ENGINE": "jobflow",
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
        }
        warnings.simplefilter("ignore")
        return compare(sys.argv[1:])


def compare(chosen: list[str]) -> int:
    """Run the chosen flows in both ways and print a line for each; return the exit code."""
    flows_of = _zoo()
    names = [name for name in flows_of if not chosen or any(part in name for part in chosen)]
    flows = {name: flows_of[name]() for name in names}
    here = {name: outputs_here(flow) for name, flow in flows.items()}
    command("init", "real", "--yes")
    try:
        # The same flows, made anew: a flow cannot run twice.
        there = outputs_there({name: flows_of[name]() for name in names})
    finally:
        command("stop", check=False)
        command("db", "stop", check=False)
    failed = 0
    for name in names:
        remark = ""
        if here[name] != there[name]:
            with serialised_jobs():
                here[name] = outputs_here(flows_of[name]())
            remark = ", with each job serialised here as well: a class of its inputs does not keep all that it has"
        equal = here[name] == there[name]
        failed += not equal
        print(f"{'equal' if equal else 'DIFFERENT':10}{name} ({len(here[name])} jobs){remark}")
        if not equal:
            print(first_difference(here[name], there[name]))
    print(f"{len(names) - failed} of {len(names)} flows are equal")
    return 1 if failed or not names else 0


def _zoo() -> dict[str, Callable[[], Any]]:
    """Return what makes each flow, by its name; without atomate2, only those of quacc."""
    from real_flows_quacc import FLOWS as QUACC

    if importlib.util.find_spec("atomate2") is None:
        return QUACC
    from real_flows_atomate2 import FLOWS as ATOMATE2

    return ATOMATE2 | QUACC


def outputs_here(flow: Any) -> list[str]:
    """Return the outputs of a flow that `run_locally` runs in this process."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    store: Any = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, log=False, create_folders=True, ensure_success=True)
    return normalised(store.query(load=True))


@contextmanager
def serialised_jobs() -> Iterator[None]:
    """Let `run_locally` send each job through JSON before it runs, as every runner does that sends it elsewhere."""
    from jobflow import Job
    from monty.json import MontyDecoder, MontyEncoder

    run = Job.run

    def run_copy(self: Any, *args: Any, **kwargs: Any) -> Any:
        copy = MontyDecoder().process_decoded(json.loads(MontyEncoder().encode(self)))
        return run(copy, *args, **kwargs)

    Job.run = run_copy
    try:
        yield
    finally:
        Job.run = run


def outputs_there(flows: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the outputs of flows that run on the processes of a master."""
    from jfr_mp import JobController, get_jobstore, submit_flow

    began = time.monotonic()
    command("start")
    ids = {name: submit_flow(flow) for name, flow in flows.items()}
    controller = JobController.from_project_name()
    store: Any = get_jobstore()
    store.connect()
    try:
        found = {}
        for name, db_ids in ids.items():
            flow = until(lambda db_ids=db_ids: ended(controller, db_ids), name)
            print(f"{flow.state.value} after {time.monotonic() - began:.0f} s: {name}", flush=True)
            for job in controller.get_jobs_info(flow_ids=[flow.flow_id]):
                if job.state.value != "COMPLETED":
                    print(f"  {job.name}: {job.state.value} {(job.error or job.remote.error or '')[-600:]}")
            found[name] = normalised(store.query({"uuid": {"$in": flow.job_ids}}, load=True))
        return found
    finally:
        store.close()
        controller.close()


def ended(controller: Any, db_ids: list[str]) -> Any:
    """Return the flow of some jobs if it has ended."""
    (flow,) = controller.get_flows_info(db_ids=db_ids[:1])
    return flow if flow.state.value in {"COMPLETED", "FAILED", "STOPPED"} else None


def until(find: Callable[[], Any], what: str) -> Any:
    """Return what a function finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not end within {PATIENCE:.0f} s")


def normalised(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return outputs as sorted text without what differs between two runs."""
    return sorted(f"{doc['name']} {json.dumps(_plain(doc['output']), sort_keys=True)}" for doc in documents)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if not _VARYING.search(key)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return f"{value:.8g}" if abs(value) > 1e-12 else "0"
    return _UUID.sub("UUID", str(value)) if value is not None else None


def first_difference(here: list[str], there: list[str]) -> str:
    """Return where two lists of outputs begin to differ."""
    if len(here) != len(there):
        return f"  {len(here)} outputs here, {len(there)} there"
    one, other = next((a, b) for a, b in zip(here, there, strict=True) if a != b)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    start = max(0, same - 60)
    return f"  here:  {one[start : start + 160]}\n  there: {other[start : start + 160]}"


def command(*argv: str, check: bool = True) -> None:
    """Run a command of jfr-mp."""
    subprocess.run([sys.executable, "-m", "jfr_mp", *argv], check=check, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    raise SystemExit(main())
