"""What reads bytes from outside: each target with the errors that it may raise, and what must hold of its results."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from jobflow import JobStore
from maggma.stores import MemoryStore
from paramiko import ECDSAKey
from qtoolkit.io.pbs import PBSIO
from qtoolkit.io.sge import SGEIO
from qtoolkit.io.shell import ShellIO
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.batch.fate import BatchInfo
from jfr_mp.batch.markers import Marker, Place
from jfr_mp.bus import messages
from jfr_mp.config import Project, files
from jfr_mp.config.workers import ConnectionData
from jfr_mp.database import backup
from jfr_mp.database.backup_files import MEMBERS, find_backup
from jfr_mp.errors import BackupError, BusError, ConfigError, HostError, HostUnreachable, SchedulerError
from jfr_mp.execution.warm import wire as warm_wire
from jfr_mp.execution.warm.child import Order
from jfr_mp.hosts import CommandResult
from jfr_mp.hosts.local import LocalHost
from jfr_mp.hosts.login.wire import Wire, WireError
from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.known_hosts import KnownHosts
from jfr_mp.hosts.ssh.ssh_config import SshConfig
from jfr_mp.jobdata.outputs import copy_outputs, is_complete, read_output
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.jobdata.untrusted import path_below
from jfr_mp.model import JobRecord
from jfr_mp.outcomes import Completion
from jfr_mp.schedulers import JobStatus
from jfr_mp.schedulers.dialect import Listed
from jfr_mp.schedulers.dialects import dialect_of
from jfr_mp.schedulers.journal import JournalReader, journal_path
from jfr_mp.states import JobState

#: The job to which the outputs of the corpus belong.
UUID_OF_JOB = "11111111-2222-4333-8444-555555555555"
_JOB = JobRecord(uuid=UUID_OF_JOB, index=1, db_id="7", worker="w", state=JobState.DOWNLOADED)
_KEY = ECDSAKey.generate()


@dataclass(frozen=True)
class Target:
    """A reader of bytes.

    Parameters
    ----------
    read
        Reads bytes, with an empty directory at hand, and asserts what must hold.
    refuses
        The errors by which it may refuse them; any other is a fault.
    server
        The variable in which it finds the address of a database server of its own; None if it needs none.
    module
        The module that it imports when it reads for the first time; None for none.
    """

    read: Callable[[bytes, Path], Any]
    refuses: tuple[type[Exception], ...] = ()
    server: str | None = None
    module: str | None = None


def _bus(data: bytes, _directory: Path) -> None:
    message = messages.decode(data)
    assert messages.decode(messages.encode(message)) == message


def _output(data: bytes, directory: Path) -> None:
    (directory / "jfremote_out.json").write_bytes(data)
    completion = read_output(directory)
    assert isinstance(completion, Completion)
    if completion.state is JobState.COMPLETED:
        assert completion.error is None
    assert is_complete(LocalHost(), str(directory)) in (True, False)


def _store(data: bytes, directory: Path) -> None:
    """A job can replace no output but its own."""
    jobstore = JobStore(MemoryStore())
    jobstore.connect()
    jobstore.docs_store.update({"uuid": "of another job", "index": 1, "output": 5}, key=["uuid", "index"])
    (directory / "remote_job_data.json").write_bytes(data)
    try:
        copy_outputs(jobstore, transfer_store(jobstore, str(directory), None), _JOB)
    finally:
        found = {document["uuid"]: document.get("output") for document in jobstore.docs_store.query()}
        assert found.pop("of another job") == 5
        assert set(found) <= {UUID_OF_JOB}


def _scheduler(io: Any) -> Callable[[bytes, Path], None]:
    dialect = dialect_of(io)

    def read(data: bytes, _directory: Path) -> None:
        text = data.decode(errors="replace")
        first, _, rest = text.partition("\n---\n")
        assert isinstance(dialect.read_id(text), str | None)
        assert isinstance(dialect.read_show(text), JobStatus)
        for code in (0, 1):
            for job in dialect.read_list(CommandResult(first, rest, code)):
                assert isinstance(job, Listed)
                assert isinstance(job.status, JobStatus)

    return read


def _project(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, directory: Path) -> None:
        path = directory / f"p{suffix}"
        path.write_bytes(data)
        project = files.validate(Project, files.load(path), path, {"projects_folder": directory})
        assert "/" not in project.name
        assert Path(project.base_dir).name

    return read


def _ssh_config(data: bytes, directory: Path) -> None:
    (directory / "config").write_bytes(data)
    config = SshConfig(directory / "config")
    for name in ("cluster", "a.b", "*", "x" * 100):
        config.endpoint(ConnectionData(host=name))


def _known_hosts(data: bytes, directory: Path) -> None:
    (directory / "known_hosts").write_bytes(data)
    known = KnownHosts([directory / "known_hosts"], None)
    for name in ("cluster", "[cluster]:2222", "10.0.0.1"):
        known.key_types(name)
        known.has_authority(name)
    # No file makes a key known that it does not contain.
    if _KEY.get_base64().encode() not in data:
        try:
            known.verify("cluster", _KEY)
        except HostUnreachable:
            return
        raise AssertionError("an unknown key was accepted")


def _journal(data: bytes, directory: Path) -> None:
    path = Path(journal_path(directory))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    reader = JournalReader(LocalHost(), directory)
    events = reader.new_events()
    assert reader.new_events() == []
    assert len(events) <= data.count(b"\n") + data.count(b"\r") + len(data)
    assert all(event.submission and event.time.tzinfo for event in events)


def _marker(data: bytes, _directory: Path) -> None:
    name = data.decode(errors="replace")
    for place in Place:
        marker = Marker.parse(place, name)
        if marker is not None:
            UUID(marker.uuid)
            assert PurePosixPath(marker.path).parent == PurePosixPath(place)
            assert Marker.parse(place, PurePosixPath(marker.path).name) == marker


def _batch_info(data: bytes, _directory: Path) -> None:
    info = BatchInfo.parse(data.decode(errors="replace"))
    assert info is None or all(time is None or time.tzinfo for time in (info.start_time, info.end_time))


def _path(data: bytes, directory: Path) -> None:
    path = path_below(directory, data.decode(errors="replace"))
    assert path.resolve().is_relative_to(directory.resolve())


def _sent(data: bytes) -> socket.socket:
    """Return a socket to which something was sent and then closed."""
    here, there = socket.socketpair()

    def send() -> None:
        with closing(there):
            there.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    here.settimeout(5)
    return here


def _login_wire(data: bytes, _directory: Path) -> None:
    with closing(_sent(data[:60_000])) as connection:
        wire = Wire(connection)
        while True:
            wire.receive()


def _warm_wire(data: bytes, _directory: Path) -> None:
    with closing(_sent(data[:60_000])) as connection:
        fields, descriptors = warm_wire.receive(connection)
    assert descriptors == []
    Order.read(fields, [0, 1, 2])


def _backup_zip(data: bytes, directory: Path) -> None:
    (directory / "b.zip").write_bytes(data)
    backup.verify(find_backup(directory / "b.zip"))
    assert [path.name for path in directory.iterdir()] == ["b.zip"]


def _backup_bson(data: bytes, directory: Path) -> None:
    """The first line is the manifest, the rest a collection."""
    manifest, _, documents = data.partition(b"\n")
    for name in MEMBERS:
        (directory / f"{name}.bson").write_bytes(documents if name == "jobs" else b"")
    (directory / "manifest.json").write_bytes(manifest)
    backup.verify(find_backup(directory))


def _elsewhere(module: str, name: str, server: str | None = None) -> Target:
    """Return a target that imports far more of jfr-mp than the others, which atheris takes long for."""

    def read(data: bytes, directory: Path) -> None:
        getattr(import_module(module), name)(data, directory)

    return Target(read, (), server, module)


TARGETS = {
    "http": _elsewhere("tests.fuzz.sockets", "http"),
    "records.masters": _elsewhere("tests.fuzz.records", "read_as_a_master", server="JFR_MP_FUZZ_MONGODB"),
    "records.users": _elsewhere("tests.fuzz.records", "read_as_a_user", server="JFR_MP_FUZZ_MONGODB"),
    "reports": _elsewhere("tests.fuzz.sockets", "reports"),
    "backup.zip": Target(_backup_zip, (BackupError,)),
    "backup.bson": Target(_backup_bson, (BackupError,)),
    "bus": Target(_bus, (BusError,)),
    "output": Target(_output, (HostError,)),
    "store": Target(_store, (HostError,)),
    "slurm": Target(_scheduler(SlurmIO()), (SchedulerError,)),
    "pbs": Target(_scheduler(PBSIO()), (SchedulerError,)),
    "sge": Target(_scheduler(SGEIO()), (SchedulerError,)),
    "shell": Target(_scheduler(ShellIO()), (SchedulerError,)),
    "project.yaml": Target(_project(".yaml"), (ConfigError,)),
    "project.json": Target(_project(".json"), (ConfigError,)),
    "project.toml": Target(_project(".toml"), (ConfigError,)),
    "ssh_config": Target(_ssh_config, (ConfigError,)),
    "known_hosts": Target(_known_hosts),
    "journal": Target(_journal),
    "marker": Target(_marker),
    "batch_info": Target(_batch_info),
    "path": Target(_path, (HostError,)),
    "login_wire": Target(_login_wire, (WireError, ConnectionBroken)),
    "warm_wire": Target(_warm_wire, (ValueError,)),
}
