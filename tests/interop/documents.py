"""Comparing the documents of two runs of one flow: uuids become names, times and ids lose their value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jfr_mp.states import FINAL_STATES, JobState
from tests.support.projects import TestProject

Doc = dict[str, Any]

#: Where a job that nobody touches stays.
_AT_REST = [state.value for state in (*FINAL_STATES, JobState.WAITING, JobState.REMOTE_ERROR, JobState.PAUSED)]

_UUID = re.compile(r"(?:/[0-9a-f]{2}){3}/(?=[0-9a-f]{8}-)|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Fields of ours in the documents, which the peer ignores.
OURS = {"submission", "home", "place", "outputs", "jfr_mp_completing"}

#: Versions of packages, and what MongoDB adds.
_IGNORED = {"_id", "@version"} | OURS

#: Texts that say something else each time.
_FREE_TEXT = {"process_id", "queue_out", "queue_err", "last_updated", "completed_at"}

#: The last word of the scheduler, which depends on when it was asked.
_BY_CHANCE = {"queue_state"}


def is_at_rest(project: TestProject) -> bool:
    """Tell whether nothing of a project could move, and nobody holds anything."""
    return not (
        project.db.jobs.find_one({"$or": [{"state": {"$nin": _AT_REST}}, {"lock_id": {"$ne": None}}]})
        or project.db.flows.find_one({"lock_id": {"$ne": None}})
    )


def flows_of(project: TestProject) -> dict[str, Doc]:
    """Return all that the database holds of each flow, by its name, in a form that is the same for equal runs."""
    return {flow["name"]: _flow(project, flow) for flow in project.db.flows.find()}


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Return where two documents differ, one line each: the place, what we have there, and what they have."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return [
            line
            for key in sorted({*ours, *theirs})
            for line in differences(ours.get(key, "nothing"), theirs.get(key, "nothing"), f"{path}/{key}")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"]


def _flow(project: TestProject, flow: Doc) -> Doc:
    jobs = list(project.db.jobs.find({"job.hosts": flow["uuid"]}).sort("index"))
    labels = _labels(flow, jobs)
    texts = {str(project.work_dir): "work_dir", project.db.name: "database"}
    outputs = [
        (store, document)
        for store in ("outputs", "data", "other")
        for document in project.db[store].find({"job_uuid" if store == "data" else "uuid": {"$in": flow["jobs"]}})
    ]
    clean = _Cleaner(labels, {job["db_id"]: f"{labels[job['uuid']]} {job['index']}" for job in jobs}, texts)
    flow = {**flow, "jobs": sorted(flow["jobs"], key=labels.__getitem__)}
    flow["ids"] = sorted(flow["ids"], key=lambda row: (labels[row[1]], row[2]))
    assert [sorted(row) for row in zip(*flow["ids"], strict=True)] == [
        sorted(job[key] for job in jobs) for key in ("db_id", "uuid", "index")
    ], f"the ids of flow {flow['name']} are not those of its jobs"
    for job in jobs:
        # Those that a detour adds are with the job only where the peer completed it, and here as well where we did.
        noted = flow["parents"][job["uuid"]].pop(str(job["index"]))
        assert set(noted) <= set(job["parents"]), f"flow {flow['name']} notes parents that its jobs do not have"
        # Their order is that of a graph, which differs from run to run.
        job["parents"] = sorted(job["parents"], key=labels.__getitem__)
    assert not any(flow["parents"].values()), f"flow {flow['name']} notes parents of jobs that do not exist"
    return {
        "flow": clean({**flow, "ids": [row[1:] for row in flow["ids"]]}),
        "jobs": {f"{labels[job['uuid']]} {job['index']}": clean(job) for job in jobs},
        "outputs": sorted((store, json.dumps(clean(document), sort_keys=True)) for store, document in outputs),
    }


def _labels(flow: Doc, jobs: list[Doc]) -> dict[str, str]:
    """Name each uuid of a flow: a job by the name that it had first, a flow by the jobs in it."""
    labels: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for job in jobs:
        labels.setdefault(job["uuid"], job["job"]["name"])
        for host in job["job"]["hosts"]:
            members.setdefault(host, set()).add(labels[job["uuid"]])
    assert len(set(labels.values())) == len(labels), f"two jobs of flow {flow['name']} have the same name"
    return labels | {uuid: f"flow of {sorted(names)}" for uuid, names in members.items()} | {flow["uuid"]: "the flow"}


class _Cleaner:
    """Takes from a document what no two runs have in common.

    Parameters
    ----------
    labels
        The names of the uuids.
    db_ids
        The jobs of the db_ids.
    texts
        What to replace in strings.
    """

    def __init__(self, labels: Mapping[str, str], db_ids: Mapping[str, str], texts: Mapping[str, str]) -> None:
        self._labels = labels
        self._db_ids = db_ids
        self._texts = texts

    def __call__(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {self(name): self(item, name) for name, item in value.items() if name not in _IGNORED | _BY_CHANCE}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        if isinstance(value, datetime):
            return "a time"
        if key == "db_id":
            return f"the {type(value).__name__} of {self._db_ids[str(value)]}"
        if isinstance(value, str):
            return f"some {key}" if key in _FREE_TEXT else self._text(value, key)
        return value

    def _text(self, value: str, key: str) -> str:
        if key == "error":
            value = value.strip().splitlines()[-1]
        for text, name in self._texts.items():
            value = value.replace(text, name)
        return _UUID.sub(lambda match: self._labels.get(match[0], "/../../../" if match[0][0] == "/" else "?"), value)
