"""What the registry tells of a deployment, as data: records in, findings out."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.processes import ProcessRecord
from jfr_mp.membership.findings import Overview, findings
from jfr_mp.step_table import Role


def record(owner: str, kind: str = "role", **fields: Any) -> ProcessRecord:
    defaults = {"host": "h", "machine": "m" * 16, "pid": 1, "create_time": 1.5, "project": "p", "roles": []}
    return ProcessRecord.model_validate({"id": owner, "kind": kind, **defaults, **fields})


MASTER = record("master", "master", version="1", python="3.12.1", config="a")
ROLES = [record(role, roles=[role], name=f"{role}-1") for role in Role]


def found(*records: ProcessRecord, silence: dict[str, float] | None = None, **more: Any) -> list[tuple[str, str, str]]:
    overview = Overview(records, silence or {}, lease_ttl=30, **more)
    return [(finding.kind, finding.text, finding.cure) for finding in findings(overview)]


def test_a_sound_deployment_has_no_findings() -> None:
    same = {"id": "other", "host": "i", "machine": "n", "python": "3.12.9", "clock_offset": 1.0}
    assert found(MASTER, MASTER.model_copy(update=same), record("r", machine="n"), *ROLES) == []
    assert found() == []


def test_a_role_that_runs_nowhere_is_missing() -> None:
    (finding,) = found(MASTER, *[role for role in ROLES if role.roles != ["complete"]])
    assert finding == ("missing", "the role complete runs nowhere: jobs stay DOWNLOADED", "jfr-mp start --complete")


def test_a_role_that_is_paused_can_be_resumed() -> None:
    drained = MASTER.model_copy(update={"state": "DRAINING"})
    ((kind, text, cure),) = found(drained, *[role for role in ROLES if role.roles != ["checkout"]])
    assert (kind, cure) == ("missing", "jfr-mp resume --host h")
    assert "the master on h is DRAINING" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": "2"}, "different versions of jfr-mp: 1 on h (mmmmmmmm); 2 on i (nnn)"),
        ({"python": "3.11.1"}, "different versions of Python: 3.12 on h (mmmmmmmm); 3.11 on i (nnn)"),
        ({"config": "b"}, "different project files: a on h (mmmmmmmm); b on i (nnn)"),
        ({"clock_offset": -7.2}, "the clock of i (nnn) is 7 s behind that of the database"),
        ({"host": "h"}, "2 machines have the host name h: mmmmmmmm, nnn"),
    ],
    ids=["version", "python", "configuration", "clock", "name"],
)
def test_what_differs_between_machines_is_odd(change: dict[str, Any], text: str) -> None:
    other = MASTER.model_copy(update={"id": "other", "host": "i", "machine": "nnn", **change})
    ((kind, said, cure),) = found(MASTER, other, *ROLES)
    assert (kind, text in said, bool(cure)) == ("odd", True, True), said


def test_a_silent_master_and_a_process_without_one_are_ghosts() -> None:
    silent = record("silent", "master", host="i", machine="n")
    alone = record("alone", name="queue-7", host="j", machine="o", pid=7)
    ghosts = found(MASTER, *ROLES, silent, alone, silence={"silent": 40})
    assert [(kind, cure) for kind, _, cure in ghosts] == [
        ("ghost", "nothing: other processes take over its jobs"),
        ("ghost", "on j: kill 7"),
    ]
    assert "has been silent for 40 s" in ghosts[0][1]


def test_a_master_that_was_lost_is_remembered() -> None:
    ((kind, text, _),) = found(MASTER, *ROLES, lost=[record("k", "master", host="k")])
    assert (kind, text.startswith("the master on k (mmmmmmmm) was lost")) == ("ghost", True)


def test_jobs_whose_files_are_on_a_machine_that_is_gone_are_counted() -> None:
    ((kind, text, _),) = found(MASTER, *ROLES, lost_jobs=3)
    assert (kind, text.split()[0]) == ("missing", "3")
