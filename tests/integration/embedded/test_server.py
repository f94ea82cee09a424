from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from jfr_mp.config.options import EmbeddedDb
from jfr_mp.embedded import EmbeddedMongo, ManagedStores, create, ensure_running
from jfr_mp.embedded.binary import find_mongod
from jfr_mp.errors import EmbeddedError
from tests.support.processes import ROOT, free_port, is_alive, pids_with, wait_gone

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a test may make a managed database; whatever mongod runs there ends with the test."""
    monkeypatch.setenv("JFR_MP_TEST_EMBEDDED", str(tmp_path))
    yield tmp_path / "db"
    left = pids_with("JFR_MP_TEST_EMBEDDED", str(tmp_path))
    for pid in left:
        psutil.Process(pid).kill()
    wait_gone(left)


@pytest.fixture
def mongod_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script on PATH, under the name of mongod."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "mongod"
        program.parent.mkdir()
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return install


def server_of(stores: ManagedStores) -> EmbeddedMongo:
    return EmbeddedMongo(EmbeddedDb(**stores.embedded_db))


def connect(stores: ManagedStores, **changes: Any) -> Client:
    store = stores.queue_store | changes
    return MongoClient(
        store["host"],
        store["port"],
        username=store["username"],
        password=store["password"],
        authSource=store["auth_source"],
        serverSelectionTimeoutMS=10_000,
    )


def write(stores: ManagedStores, value: int) -> None:
    with connect(stores) as client:
        client[stores.queue_store["database"]].things.insert_one({"value": value})


def values(stores: ManagedStores) -> list[int]:
    with connect(stores) as client:
        return [thing["value"] for thing in client[stores.queue_store["database"]].things.find().sort("value")]


def test_a_new_database_takes_transactions_and_asks_for_the_password(home: Path) -> None:
    # When
    stores = create(home)

    # Then it has a store for large outputs beside that of the outputs, which many makers ask for
    assert stores.jobstore["additional_stores"]["data"]["type"] == "GridFSStore"
    # and its user has transactions
    with connect(stores) as client, client.start_session() as session, session.start_transaction():
        client["db"].things.insert_one({"value": 1}, session=session)
    # and nobody else has anything, on no other address
    with connect(stores, password="guess") as client, pytest.raises(OperationFailure, match="Authentication failed"):
        client["db"].things.find_one()
    with (
        Client("127.0.0.1", stores.queue_store["port"]) as client,
        pytest.raises(OperationFailure, match="requires auth"),
    ):
        client["db"].things.find_one()
    listening = psutil.Process(server_of(stores).status().pid).net_connections("inet")
    assert {connection.laddr.ip for connection in listening if connection.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_its_footprint_is_small_and_private(home: Path) -> None:
    # When
    create(home)

    # Then
    files = [path for path in home.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_password_is_on_no_command_line_and_in_no_log_or_repr(home: Path) -> None:
    # When
    stores = create(home)

    # Then
    password = stores.queue_store["password"]
    assert password not in " ".join(psutil.Process(server_of(stores).status().pid).cmdline())
    assert password not in (home / "mongod.log").read_text()
    assert password not in repr(stores)


def test_stopped_and_started_it_keeps_its_data(home: Path) -> None:
    # Given
    stores = create(home)
    write(stores, 1)
    server = server_of(stores)
    pid = server.status().pid
    assert pid is not None

    # When, Then each command says whether it had something to do
    assert (server.stop(), server.stop(), is_alive(pid), server.status().running) == (True, False, False, False)
    assert (server.start(), server.start(), server.status().running) == (True, False, True)
    assert values(stores) == [1]


def test_killed_and_started_it_keeps_its_data(home: Path) -> None:
    # Given a mongod that leaves its pid file behind
    stores = create(home)
    write(stores, 1)
    pid = server_of(stores).status().pid
    assert pid is not None
    psutil.Process(pid).kill()
    wait_gone([pid])

    # When, Then
    assert server_of(stores).start() is True
    assert values(stores) == [1]


def test_made_again_it_is_the_same_database(home: Path) -> None:
    # Given
    first = create(home)
    write(first, 1)

    # When
    second = create(home)

    # Then
    assert second == first
    assert values(second) == [1]


def test_two_processes_may_make_and_start_it_at_once(home: Path) -> None:
    # Given
    program = (
        "import sys, pathlib; from jfr_mp.embedded import create; print(create(pathlib.Path(sys.argv[1])).queue_store)"
    )

    def race() -> set[str]:
        racers = [
            subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
            for _ in range(4)
        ]
        outputs = {racer.communicate(timeout=60)[0] for racer in racers}
        assert [racer.returncode for racer in racers] == [0] * len(racers)
        return outputs

    # When they race for the making, then for the start
    made = race()
    server_of(create(home)).stop()
    started = race()

    # Then
    assert len(made) == 1
    assert started == made
    write(create(home), 1)


def test_a_start_that_was_cut_off_is_made_good(home: Path) -> None:
    # Given a server that was never prepared: no replica set, no user
    stores = create(home)
    server_of(stores).stop()
    record = home / "managed.json"
    record.write_text(record.read_text().replace("true", "false"))
    shutil.rmtree(home / "data")
    (home / "data").mkdir()

    # When, Then
    assert server_of(stores).start() is True
    write(stores, 1)
    # and where only the note of it is missing, that does not matter
    record.write_text(record.read_text().replace("true", "false"))
    assert server_of(stores).start() is False
    assert values(stores) == [1]


def test_a_port_of_somebody_else_is_refused(home: Path) -> None:
    # Given
    stores = create(home)
    server_of(stores).stop()
    port = stores.queue_store["port"]

    # When, Then
    taken = pytest.raises(EmbeddedError, match=f"port {port} of 127.0.0.1 is used")
    with socket.create_server(("127.0.0.1", port)), taken:
        server_of(stores).start()


def test_a_refusal_of_mongod_comes_with_its_reason(home: Path) -> None:
    # Given data that mongod cannot read
    stores = create(home)
    server_of(stores).stop()
    (home / "data" / "WiredTiger.turtle").write_text("rubbish")

    # When, Then
    with pytest.raises(EmbeddedError, match="WiredTiger") as failure:
        server_of(stores).start()
    assert str(find_mongod()) in str(failure.value)
    assert str(home) in str(failure.value)


def test_a_full_disk_is_reported_as_mongod_logs_it(home: Path, mongod_on_path: Callable[[str], None]) -> None:
    # Given a mongod whose files cannot grow beyond a limit, as on a full disk
    mongod_on_path(f"trap '' XFSZ; ulimit -f 16; exec {find_mongod()} \"$@\"")

    # When, Then
    with pytest.raises(EmbeddedError, match="File too large") as failure:
        create(home)
    assert str(home) in str(failure.value)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    # Given a file in the way
    (tmp_path / "file").touch()

    # When, Then
    with pytest.raises(EmbeddedError, match=f"{tmp_path}/file/db cannot be used: Not a directory"):
        create(tmp_path / "file" / "db")


def test_a_mongod_without_its_library_says_which_package_to_install(
    home: Path, mongod_on_path: Callable[[str], None]
) -> None:
    # Given what the dynamic linker prints
    complaint = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    mongod_on_path(f"echo '{complaint}' >&2; exit 127")

    # When, Then
    with pytest.raises(EmbeddedError, match="apt-get install libcurl4"):
        create(home)


def test_a_project_gets_its_database_started(home: Path) -> None:
    # Given a project whose database is down
    stores = create(home)
    server_of(stores).stop()
    project: Any = SimpleNamespace(jfr_mp=SimpleNamespace(embedded_db=EmbeddedDb(**stores.embedded_db)))

    # When, Then
    assert (ensure_running(project), ensure_running(project)) == (True, False)


def test_a_project_with_a_database_of_its_own_is_left_alone() -> None:
    project: Any = SimpleNamespace(jfr_mp=SimpleNamespace(embedded_db=None))

    assert ensure_running(project) is False


def test_the_port_can_be_chosen(home: Path) -> None:
    # Given
    port = free_port()

    # When, Then
    assert create(home, port).queue_store["port"] == port
