from __future__ import annotations

from pathlib import Path

import pytest
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from jfr_mp.cli.project_access import database_errors
from jfr_mp.config import Project
from jfr_mp.errors import DatabaseRefused, DatabaseUnavailable, NotRunning

STORE = {
    "type": "MongoStore",
    "host": "127.0.0.1",
    "port": 27999,
    "database": "d",
    "collection_name": "jobs",
    "username": "u",
    "password": "secret",
}


def project(tmp_path: Path, *, managed: bool = False) -> Project:
    options = {"embedded_db": {"dir": str(tmp_path), "port": 27999}} if managed else {}
    return Project(name="p", base_dir=str(tmp_path), queue={"store": STORE}, metadata={"jfr_mp": options})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServerSelectionTimeoutError("refused"), DatabaseUnavailable),
        (OperationFailure("no", code=18), DatabaseRefused),
    ],
)
def test_an_error_of_the_driver_names_the_address_and_no_password(
    tmp_path: Path, error: Exception, expected: type[Exception]
) -> None:
    with pytest.raises(expected, match=r"127\.0\.0\.1:27999") as raised, database_errors(project(tmp_path)):
        raise error

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("managed", [True, False])
def test_the_command_that_starts_a_managed_database_is_named(tmp_path: Path, managed: bool) -> None:
    with pytest.raises(DatabaseUnavailable) as raised, database_errors(project(tmp_path, managed=managed)):
        raise DatabaseUnavailable("it is away")

    assert ("jfr-mp db start" in str(raised.value)) is managed


@pytest.mark.parametrize("error", [NotRunning("nothing"), ValueError("a bug")])
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), database_errors(project(tmp_path)):
        raise error
