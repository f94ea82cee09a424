"""The records of members: built here for every kind of process, and read back as the status of masters."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jfr_mp.bus.keys import read_keys
from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import runtime_path
from jfr_mp.config.fingerprint import fingerprint
from jfr_mp.database import paused_workers, processes
from jfr_mp.database.deployment import count_lost_jobs
from jfr_mp.database.processes import ProcessRecord, Report
from jfr_mp.identity import ProcessIdentity, host_name, our_version
from jfr_mp.membership.findings import Overview
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase


def master_record(db: QueueDatabase, owner: str, roles: Iterable[Role]) -> ProcessRecord:
    """Return the record of this process as a master whose role processes play `roles`."""
    record = _record(db, owner, "master", "master", roles)
    fields = {"runtime": str(runtime_path(Path(db.project.daemon_dir)))}
    if (listens_at := db.project.jfr_mp.bus) and (keys := read_keys(db.project)):
        fields |= {"bus": _reachable(listens_at, record.address), "bus_key": keys.public}
    return record.model_copy(update=fields)


def _reachable(listens_at: str, address: str) -> str:
    """Return the address by which others reach a socket that may listen at all addresses of this machine."""
    host, _, port = listens_at.removeprefix("tcp://").rpartition(":")
    return f"tcp://{address or host_name() if host in ('0.0.0.0', '*', '[::]') else host}:{port}"


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
        **identity.model_dump(),
        id=owner,
        kind=kind,
        name=name,
        roles=list(roles),
        project=db.project.name,
        version=our_version(),
        python=platform.python_version(),
        config=fingerprint(db.project),
        address=_address_towards(db.address),
        clock_offset=round((utcnow() - db.server_time()).total_seconds(), 3),
    )


def _address_towards(hosts: str) -> str:
    """Return the address of this machine in the network that leads to a server; nothing is sent."""
    host, _, port = hosts.split(",", maxsplit=1)[0].rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return ""


def overview(db: QueueDatabase) -> Overview:
    """Return the registry as it is now, for `jfr_mp.membership.findings`."""
    ttl, records = db.project.jfr_mp.lease_ttl, processes.registered(db)
    silence = {owner: ttl - left for owner, left in processes.time_left(db, ttl).items()}
    lost, paused = processes.lost_masters(db), paused_workers.listed(db)
    return Overview(records, silence, ttl, count_lost_jobs(db), lost, paused)


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
