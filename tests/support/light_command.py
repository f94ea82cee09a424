"""A worker command that needs no imports: hundreds of jobs in the time that jobflow's imports take for a few.

``python light_command.py RUN_DIR`` runs the job of a directory, if it is `tests.support.jobs.writes_ledger`, and leaves
what the real command leaves. Here the job signs at its very end, so that the ledger has one line for each time that a
job was run to its end. While a file ``LEDGER.closed`` is beside the ledger, jobs do not end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(run_dir: str) -> None:
    """Run the job of a directory."""
    directory = Path(run_dir)
    job = json.loads((directory / "jfremote_in.json").read_text())["job"]
    names = ("ledger", "line", "seconds")
    # As in a call, the last ones may be missing.
    arguments = dict(zip(names, job["function_args"], strict=False)) | job["function_kwargs"]
    output: dict[str, Any] = {"start_time": _now()}
    _write(directory / "jfremote_out.json", output)
    time.sleep(arguments.get("seconds", 0))
    gate = Path(f"{arguments['ledger']}.closed")
    while gate.exists():
        time.sleep(0.02)
    document = {
        "uuid": job["uuid"],
        "index": job["index"],
        "output": arguments["line"],
        "metadata": {},
        "hosts": job["hosts"],
        "name": job["name"],
    }
    with Path(arguments["ledger"]).open("a") as file:
        file.write(f"{arguments['line']}\n")
    _write(directory / "remote_job_data.json", [document])
    _write(directory / "jfremote_out.json", output | {"response": {"output": None}, "error": None, "end_time": _now()})


def _write(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime())


if __name__ == "__main__":
    main(sys.argv[1])
