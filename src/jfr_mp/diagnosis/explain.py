"""`explain_job`: why a job is in its state, and what would move it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from jfr_mp.database import queries
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.diagnosis.deadline import within
from jfr_mp.diagnosis.facts import Facts
from jfr_mp.diagnosis.gathering import ask_scheduler, gather
from jfr_mp.diagnosis.reasons import Reason, reasons_of
from jfr_mp.errors import JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo
    from jfr_mp.steps.services import Services

#: Seconds to wait for a scheduler.
_SCHEDULER_TIMEOUT = 15.0


@dataclass(frozen=True)
class Explanation:
    """Why a job is in its state.

    Parameters
    ----------
    facts
        What is known about it.
    reasons
        What follows, the most important first; there is at least one.
    """

    facts: Facts
    reasons: tuple[Reason, ...]

    @property
    def job(self) -> JobInfo:
        """The job."""
        return self.facts.job

    def as_dict(self) -> dict[str, Any]:
        """Return it as `jfr-mp job explain --json` shows it."""
        fields = asdict(self.facts)
        job, outage = fields.pop("job").model_dump(), fields["outage"]
        return {
            **{key: job[key] for key in ("db_id", "uuid", "index", "name", "state", "worker")},
            "reasons": [asdict(reason) for reason in self.reasons],
            "facts": {
                **fields,
                "roles": sorted(fields["roles"]),
                "outage": outage.model_dump() if outage else None,
                "step_attempts": self.job.remote.step_attempts,
                "retry_time_limit": self.job.remote.retry_time_limit,
            },
        }

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it."""
        from jfr_mp.api.notebook import explanation_html

        return explanation_html(self.job, self.reasons)


def explain_job(
    source: JobController | QueueDatabase,
    *,
    db_id: str | None = None,
    job_id: str | None = None,
    job_index: int | None = None,
) -> Explanation:
    """Explain why a job is in its state, and what would move it.

    Parameters
    ----------
    source
        Where the job is. With a controller, the scheduler of a submitted job is asked as well, for 15 seconds at most;
        with a database alone it is not.
    db_id, job_id, job_index
        The job, as for `JobController.get_job_info`.

    Raises
    ------
    ValueError
        There is no such job.
    DatabaseError
        The database does not answer or refuses the connection.
    """
    db = source if isinstance(source, QueueDatabase) else source.db
    job = queries.job_info(db, db_id=db_id, job_id=job_id, job_index=job_index)
    if job is None:
        raise ValueError(f"there is no job {db_id or job_id}")
    facts = gather(db, job)
    # A host that is known to be unreachable would only keep the user waiting.
    if not isinstance(source, QueueDatabase) and facts.outage is None:
        facts = replace(facts, scheduler=_scheduler(source.services, job))
    return Explanation(facts, reasons_of(facts))


def _scheduler(services: Services, job: JobInfo) -> str | None:
    try:
        return within(_SCHEDULER_TIMEOUT, lambda: ask_scheduler(services, job))
    except JfrMpError as error:
        return f"no answer: {error}"
