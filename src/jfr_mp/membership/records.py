"""The records of members: built here for every kind of process, and read back as the status of masters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import runtime_path
from jfr_mp.database import processes
from jfr_mp.database.processes import ProcessRecord, Report
from jfr_mp.identity import ProcessIdentity
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase


def master_record(db: QueueDatabase, owner: str, roles: Iterable[Role]) -> ProcessRecord:
    """Return the record of this process as a master whose role processes play `roles`."""
    record = _record(db, owner, "master", "master", roles)
    return record.model_copy(update={"runtime": str(runtime_path(Path(db.project.daemon_dir)))})


def role_record(
    db: QueueDatabase, owner: str, name: str, roles: Iterable[Role], places: Iterable[str] = ()
) -> ProcessRecord:
    """Return the record of this process as one that plays `roles`: a role process, or a runner without a master."""
    return _record(db, owner, "role", name, roles).model_copy(update={"places": list(places)})


def _record(
    db: QueueDatabase, owner: str, kind: Literal["master", "role"], name: str, roles: Iterable[Role]
) -> ProcessRecord:
    identity = ProcessIdentity.of_this_process()
    return ProcessRecord(
        **identity.model_dump(), id=owner, kind=kind, name=name, roles=list(roles), project=db.project.name
    )


def report_of(status: MasterStatus) -> Report:
    """Return what a master reports: its status, without what its record says already."""
    row = status.row()
    shown = {name: getattr(status, name) for name in ("outages", "transfers", "steps", "notices")}
    return Report(state=row["state"], rows=row["roles"], **shown)


def masters_elsewhere(db: QueueDatabase) -> list[MasterStatus]:
    """Return the running masters on other machines, as they last reported."""
    living = processes.living(db, db.project.jfr_mp.lease_ttl)
    return [_status_of(record) for record in living if record.kind == "master" and not record.is_local]


def machines_with_masters(db: QueueDatabase) -> list[str]:
    """Return the names of the machines on which a master is running, this one included."""
    living = processes.living(db, db.project.jfr_mp.lease_ttl)
    return sorted({record.host for record in living if record.kind == "master"})


def _status_of(record: ProcessRecord) -> MasterStatus:
    return MasterStatus.model_validate(
        {
            "host": record.host,
            "pid": record.pid,
            "state": record.state,
            "roles": record.rows,
            "outages": record.outages,
            "transfers": record.transfers,
            "steps": record.steps,
            "notices": record.notices,
        }
    )
