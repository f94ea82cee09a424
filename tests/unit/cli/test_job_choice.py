from __future__ import annotations

import pytest
import typer

from jfr_mp.cli.job_choice import JobName, job_choice
from jfr_mp.database.filters import JobFilter

UUID = "e1d66c4f-81db-4fff-bda2-2bf1d79d5961"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (JobName("12"), {"db_id": "12"}),
        (JobName("mat-12"), {"db_id": "mat-12"}),
        (JobName(UUID), {"job_id": UUID, "job_index": None}),
        (JobName(UUID, 2), {"job_id": UUID, "job_index": 2}),
    ],
)
def test_a_job_is_named_by_db_id_or_uuid(name: JobName, keys: dict[str, object]) -> None:
    assert name.keys == keys


def test_one_job_or_several() -> None:
    several = JobFilter(workers=["cluster"])

    assert job_choice(JobFilter(), "12").one == JobName("12")
    assert job_choice(several).several == several
    assert job_choice(several).one is None


@pytest.mark.parametrize(("jobs", "job"), [(JobFilter(), None), (JobFilter(locked=True), "12")], ids=["none", "both"])
def test_neither_and_both_are_refused(jobs: JobFilter, job: str | None) -> None:
    with pytest.raises(typer.BadParameter, match="name one job, or select several"):
        job_choice(jobs, job)
