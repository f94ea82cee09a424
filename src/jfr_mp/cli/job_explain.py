"""``jfr-mp job explain``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import typer

from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.job_choice import IndexArgument, JobArgument, chosen_job
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import doing, print_json
from jfr_mp.diagnosis.deadline import within
from jfr_mp.errors import JfrMpError

if TYPE_CHECKING:
    from jfr_mp.diagnosis.explain import Facts, Reason
    from jfr_mp.model import JobInfo
    from jfr_mp.steps.services import Services

#: Seconds that a person waits for what a scheduler says of a job.
_SCHEDULER_TIMEOUT = 15.0


@with_examples(
    {
        "jfr-mp job explain 12": "by db_id",
        "jfr-mp job explain 12 --json": "for a program, with the facts behind it",
    }
)
def explain(
    job: JobArgument, index: IndexArgument = None, as_json: JsonOption = False, project: ProjectOption = None
) -> None:
    """Tell why a job is where it is, and what would move it."""
    from jfr_mp.diagnosis.explain import explain as explain_facts
    from jfr_mp.diagnosis.facts import gather

    with chosen_job(project, job, index) as (controller, found), doing("asking"):
        facts = gather(controller.db, found)
        # A host that the runner knows to be away would only keep the user waiting.
        if facts.outage is None:
            facts = replace(facts, scheduler=_scheduler(controller.services, found))
    reasons = explain_facts(facts)
    if as_json:
        print_json(_explanation(facts, reasons))
        return
    typer.echo(f"Job {found.db_id} ({found.name}) on worker {found.worker} is {found.state.name}.")
    for reason in reasons:
        typer.echo(f"- {reason.why}")
        typer.secho(f"  -> {reason.cure}", fg="cyan")


def _scheduler(services: Services, job: JobInfo) -> str | None:
    from jfr_mp.diagnosis.facts import ask_scheduler

    try:
        return within(_SCHEDULER_TIMEOUT, lambda: ask_scheduler(services, job))
    except JfrMpError as error:
        return f"no answer: {error}"


def _explanation(facts: Facts, reasons: tuple[Reason, ...]) -> dict[str, Any]:
    fields = asdict(facts)
    job = fields.pop("job").model_dump()
    outage = fields["outage"]
    return {
        **{key: job[key] for key in ("db_id", "uuid", "index", "name", "state", "worker")},
        "reasons": [asdict(reason) for reason in reasons],
        "facts": {
            **fields,
            "roles": sorted(fields["roles"]),
            "outage": outage.model_dump() if outage else None,
            "step_attempts": facts.job.remote.step_attempts,
            "retry_time_limit": facts.job.remote.retry_time_limit,
        },
    }
