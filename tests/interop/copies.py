"""Two projects with the same database, one for each package."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.projects import TestProject


def copy(source: TestProject, target: TestProject) -> None:
    """Copy a database, and the run directories to the directory of the other worker."""
    for name in source.db.list_collection_names():
        documents = list(source.db[name].find())
        if documents:
            target.db[name].insert_many(documents)
    for job in target.db.jobs.find({"run_dir": {"$ne": None}}):
        run_dir = job["run_dir"].replace(str(source.work_dir), str(target.work_dir))
        Path(run_dir).mkdir(parents=True)
        Path(run_dir, "jfremote_in.json").touch()
        target.db.jobs.update_one({"_id": job["_id"]}, {"$set": {"run_dir": run_dir}})


def timeless(value: Any, project: TestProject) -> Any:
    """Return a document without its times and without the directory of its project."""
    if isinstance(value, dict):
        return {key: timeless(item, project) for key, item in value.items()}
    if isinstance(value, list):
        return [timeless(item, project) for item in value]
    if isinstance(value, datetime):
        return "a time"
    return value.replace(str(project.work_dir), "work_dir") if isinstance(value, str) else value
