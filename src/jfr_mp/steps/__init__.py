"""What each step does to a job: one module a step, each with ``run(job, services) -> Outcome``.

A step knows hosts, schedulers and JobStores, and nothing of the queue database: claiming a job before and writing the
outcome after is the business of `jfr_mp.engine`, the same for all. `poll` looks at many jobs at once and therefore is
different: see its module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jfr_mp import step_table
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Outcome
from jfr_mp.steps import checkout, complete, download, submit, upload
from jfr_mp.steps.services import Services

StepFunction = Callable[[JobDoc, Services], Outcome]

STEP_FUNCTIONS: Mapping[step_table.Step, StepFunction] = {
    step_table.CHECKOUT: checkout.run,
    step_table.UPLOAD: upload.run,
    step_table.SUBMIT: submit.run,
    step_table.DOWNLOAD: download.run,
    step_table.COMPLETE: complete.run,
}
