from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import ConfigError
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.ssh_config import SshConfig

CONFIG = """\
Host cluster
  HostName login.cluster.org
  User alice
  Port 2200
  ConnectTimeout 3
Host inside
  HostName 10.0.0.1
  ProxyJump bob@outer:2222,cluster
Host by-command
  ProxyCommand nc -x proxy %h %p
Host alias
  HostKeyAlias shown-name
  ForwardAgent yes
Host circle
  ProxyJump circle
Host wrong
  Port many
Host *
  User everybody
"""


@pytest.fixture
def config(tmp_path: Path) -> SshConfig:
    (tmp_path / "config").write_text(CONFIG)
    return SshConfig(tmp_path / "config")


def endpoint(config: SshConfig, host: str, **fields: Any) -> Endpoint:
    worker = RemoteWorker.model_validate({"scheduler_type": "shell", "work_dir": "/w", "host": host, **fields})
    return config.endpoint(worker)


def test_the_project_file_goes_before_the_users(config: SshConfig) -> None:
    said = endpoint(config, "cluster")
    assert (said.host, said.user, said.port, said.timeout) == ("login.cluster.org", "alice", 2200, 3)
    said = endpoint(config, "cluster", user="carol", port=22)
    assert (said.host, said.user, said.port) == ("login.cluster.org", "carol", 22)


@pytest.mark.parametrize(
    ("host", "name"),
    [("cluster", "[login.cluster.org]:2200"), ("plain", "plain"), ("alias", "shown-name")],
)
def test_the_name_in_known_hosts(config: SshConfig, host: str, name: str) -> None:
    assert endpoint(config, host).key_name == name


def test_jumps_come_in_their_order(config: SshConfig) -> None:
    said = endpoint(config, "inside")
    assert str(said) == "everybody@10.0.0.1"
    assert str(said.gateway) == "alice@login.cluster.org:2200"
    assert said.gateway is not None
    assert str(said.gateway.gateway) == "bob@outer:2222"


def test_a_gateway_of_the_project_file_replaces_the_jumps(config: SshConfig) -> None:
    gateway = {"host": "mine", "gateway": {"host": "cluster", "user": "dave"}}
    said = endpoint(config, "inside", gateway=gateway)
    assert said.gateway is not None
    assert (str(said.gateway), str(said.gateway.gateway)) == (
        "everybody@mine",
        "dave@login.cluster.org:2200",
    )
    assert endpoint(config, "inside", gateway="nc %r@%h:%p 100%%").proxy_command == "nc everybody@10.0.0.1:22 100%"
    assert endpoint(config, "by-command").proxy_command == "nc -x proxy by-command 22"


@pytest.mark.parametrize(("host", "why"), [("circle", "in a circle"), ("wrong", "the part about 'wrong' is not valid")])
def test_what_makes_no_sense(config: SshConfig, host: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        endpoint(config, host)


def test_no_file_says_nothing(tmp_path: Path) -> None:
    said = endpoint(SshConfig(tmp_path / "nothing"), "host", user="me", password="s3cret", passphrase="s3cret")
    assert str(said) == "me@host"
    assert "s3cret" not in repr(said)
