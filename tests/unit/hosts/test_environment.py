"""Which environment variables jobs on this machine get."""

from __future__ import annotations

import logging

import pytest

from jfr_mp.config import JfrMpOptions
from jfr_mp.hosts.environment import job_environment

USUAL = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "CONDA_PREFIX": "/conda",
    "LOADEDMODULES": "vasp",
    "OMP_NUM_THREADS": "1",
    "KEYBOARD": "de",
    "PMG_VASP_PSP_DIR": "/psp",
}
SECRET = {
    "GITHUB_TOKEN": "1",
    "github_token": "1",
    "DB_PASSWORD": "1",
    "PGPASSWORD": "1",
    "MY_SECRET_KEY": "1",
    "AWS_ACCESS_KEY_ID": "1",
    "KEY_PASSPHRASE": "1",
}
OWN = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_PID": "1", "JFR_MP_SUBMISSION": "ab"}


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({}, set(USUAL)),
        ({"pass_environment": ["AWS_*"]}, {*USUAL, "AWS_ACCESS_KEY_ID"}),
        ({"withhold_environment": ["CONDA_*", "LANG"]}, set(USUAL) - {"CONDA_PREFIX", "LANG"}),
        (
            {"withhold_environment": ["*"], "pass_environment": ["OMP_*", "MY_SECRET_KEY"]},
            {"PATH", "HOME", "LANG", "LC_ALL", "OMP_NUM_THREADS", "MY_SECRET_KEY"},
        ),
    ],
)
def test_job_environment(options: dict[str, list[str]], passed: set[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given = {**USUAL, **SECRET, **OWN}
    assert set(job_environment(JfrMpOptions.model_validate(options), given)) == passed
    # The names of what is withheld are logged, the values are not.
    assert "DB_PASSWORD" in caplog.text
