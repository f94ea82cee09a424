"""The documents of new jobs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import bson
from jobflow import Maker, job

from jfr_mp.database.documents import JobOptions, job_document
from jfr_mp.database.new_jobs import NewJob


class Choice(Enum):
    NO = "no"


@dataclass
class ChoosingMaker(Maker):
    """As the makers of atomate2 for force fields, it has an enumeration, which jobflow leaves in a bound method."""

    name: str = "choosing"
    choice: Choice = Choice.NO

    @job
    def make(self) -> None:
        """Do nothing."""


def test_the_maker_of_a_job_may_have_an_enumeration() -> None:
    # When
    document = job_document(NewJob(ChoosingMaker().make(), []), "1", JobOptions("local"))
    # Then MongoDB can store it, and reading it gives the maker back
    read = bson.decode(bson.encode(document))["job"]["function"]["@bound"]
    assert read["choice"]["value"] == "no"
    assert read["@class"] == "ChoosingMaker"
