"""Why a job does not move, and whether a project can work, for every interface; nothing here prints.

`explain_job` returns the reasons why a job is in its state, `check_project` tests a project by using it,
`ConsistencyCheck` compares all documents of the queue with the rules of the state machine, and `running_roles` returns
which roles are running on any machine.
"""

from __future__ import annotations

from jfr_mp.database.consistency import ConsistencyCheck
from jfr_mp.database.invariants import Violation
from jfr_mp.diagnosis.checks import Parts, check_project, has_failed
from jfr_mp.diagnosis.conflicts import Conflict, find_conflicts
from jfr_mp.diagnosis.explain import Explanation, explain_job
from jfr_mp.diagnosis.facts import Facts
from jfr_mp.diagnosis.gathering import running_roles
from jfr_mp.diagnosis.reasons import Reason
from jfr_mp.diagnosis.report import Check, Verdict

__all__ = [
    "Check",
    "Conflict",
    "ConsistencyCheck",
    "Explanation",
    "Facts",
    "Parts",
    "Reason",
    "Verdict",
    "Violation",
    "check_project",
    "explain_job",
    "find_conflicts",
    "has_failed",
    "running_roles",
]
