"""The times at which each job entered each state, read from the change stream of the jobs collection.

The server adds its own time to every change, so the times are exact to the millisecond. No state is missed, however
short; polling would miss most of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jfr_mp.states import FINAL_STATES, JobState

#: The changes to request: new jobs and changes of states, without the inputs of the jobs.
PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "replace"]}},
                {"updateDescription.updatedFields.state": {"$exists": True}},
            ]
        }
    },
    {
        "$project": {
            "wallTime": 1,
            "operationType": 1,
            "documentKey": 1,
            "updateDescription.updatedFields.state": 1,
            "fullDocument.db_id": 1,
            "fullDocument.state": 1,
            "fullDocument.job.name": 1,
        }
    },
]


@dataclass
class JobTimeline:
    """The history of one job.

    Parameters
    ----------
    db_id, name
        The job.
    entered
        The states in the order in which the job entered them, with the times of the server.
    """

    db_id: str
    name: str
    entered: list[tuple[JobState, datetime]] = field(default_factory=list)

    @property
    def state(self) -> JobState:
        """The current state of the job."""
        return self.entered[-1][0]

    @property
    def is_over(self) -> bool:
        """Whether the state of the job does not change any more by itself."""
        return self.state in (*FINAL_STATES, JobState.REMOTE_ERROR)

    def seconds_in(self) -> dict[JobState, float]:
        """Return the time in each state that the job has left; several visits of a state are added up."""
        spent: dict[JobState, float] = {}
        for (state, start), (_, end) in zip(self.entered, self.entered[1:], strict=False):
            spent[state] = spent.get(state, 0.0) + (end - start).total_seconds()
        return spent


class Timelines:
    """The histories of all jobs, in the order of their creation."""

    def __init__(self) -> None:
        self._jobs: dict[Any, JobTimeline] = {}

    @property
    def jobs(self) -> list[JobTimeline]:
        """All jobs seen so far."""
        return list(self._jobs.values())

    def record(self, change: Mapping[str, Any]) -> JobTimeline | None:
        """Record one event of the change stream and return the job that it changed.

        Parameters
        ----------
        change
            An event in the format of `PIPELINE`.

        Returns
        -------
        JobTimeline or None
            The job that is in a new state; None if the event does not change a state.
        """
        key = change["documentKey"]["_id"]
        document = change.get("fullDocument")
        if document is not None:
            timeline = self._jobs.setdefault(key, JobTimeline(document["db_id"], document["job"]["name"]))
            state = JobState(document["state"])
        elif key in self._jobs:
            timeline = self._jobs[key]
            state = JobState(change["updateDescription"]["updatedFields"]["state"])
        else:
            return None
        if timeline.entered and timeline.state is state:
            return None
        timeline.entered.append((state, change["wallTime"]))
        return timeline
