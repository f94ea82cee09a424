from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from jfr_mp.errors import HostError
from jfr_mp.hosts.login.broker_socket import broker_dir, broker_socket, is_same_user, make_private
from jfr_mp.hosts.ssh.endpoint import Endpoint

ENDPOINT = Endpoint("host", 22, "me", "host")


def test_each_project_and_each_way_has_a_socket_of_its_own(tmp_path: Path) -> None:
    ways = [
        ENDPOINT,
        replace(ENDPOINT, user="other"),
        replace(ENDPOINT, port=2222),
        replace(ENDPOINT, gateway=ENDPOINT),
        replace(ENDPOINT, proxy_command="nc"),
    ]
    sockets = {broker_socket(way, project) for way in ways for project in (tmp_path, tmp_path / "other")}
    assert len(sockets) == 10
    assert broker_socket(ENDPOINT, tmp_path) == broker_socket(replace(ENDPOINT, timeout=1), tmp_path)
    # The address of a Unix socket is short
    assert max(len(str(path)) for path in sockets) < 100
    assert broker_socket(ENDPOINT, tmp_path).parent == broker_dir(tmp_path)


def test_a_private_directory(tmp_path: Path) -> None:
    for _ in range(2):
        make_private(tmp_path / "mine")
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for other in ("open", "link"):
        with pytest.raises(HostError, match="is not a directory that only you can use"):
            make_private(tmp_path / other)


def test_the_user_at_the_other_end() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert is_same_user(near)
