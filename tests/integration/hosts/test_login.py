"""How hosts are reached and logged in to, and what is said where that is not possible."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.errors import ConfigError, LoginNeeded
from tests.integration.hosts.conftest import MakeHost, refusal
from tests.support.processes import free_port
from tests.support.sshd import Agent, Gateway, Namespace, SecretSshd, Sshd, make_key, running, silent_server

# Keys, agents, passwords


def test_a_key_with_a_passphrase(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a server that accepts a key with a passphrase alone
    key = make_key(tmp_path / "locked", "open sesame")
    own_sshd.authorize(key)
    # When the passphrase is right, then it opens; else the error says what is wrong, without telling secrets
    assert make_host(own_sshd, key_filename=str(key), passphrase="open sesame").run(["echo"]).returncode == 0
    assert f"key {key} (needs a passphrase)" in refusal(make_host, own_sshd, key_filename=[str(key)])
    wrong = refusal(make_host, own_sshd, key_filename=str(key), passphrase="s3cret")
    assert f"key {key} (wrong passphrase, or no private key)" in wrong
    assert "s3cret" not in wrong


def test_a_password_beside_a_key_that_needs_none(make_host: MakeHost, sshd: Sshd) -> None:
    assert make_host(sshd, password="unused").run(["echo", "in"]).stdout == "in\n"


def test_a_key_that_the_host_does_not_know(make_host: MakeHost, sshd: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "strange")
    text = refusal(make_host, sshd, key_filename=str(key))
    assert f"{sshd.user}@127.0.0.1:{sshd.port}: login refused" in text
    assert f"key {key}" in text


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "there is no key file"), ("no key", "login refused")], ids=["missing", "damaged"]
)
def test_a_key_that_is_none(make_host: MakeHost, sshd: Sshd, tmp_path: Path, content: str | None, fault: str) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    text = refusal(make_host, sshd, key_filename=str(key))
    assert fault in text
    assert str(key) in text


def test_the_agent(make_host: MakeHost, sshd: Sshd, agent: Agent) -> None:
    # Given an agent without keys
    assert "no keys of the SSH agent" in refusal(make_host, sshd, key_filename=None)
    # When it has got the key
    agent.add(sshd.key)
    # Then the host lets us in, and may use the agent where we say so
    assert (
        "the agent"
        not in make_host(sshd, key_filename=None).run(["sh", "-c", "echo ${SSH_AUTH_SOCK+the agent}"]).stdout
    )
    forwarding = make_host(sshd, key_filename=None, forward_agent=True)
    assert "client_ed25519" in forwarding.run(["ssh-add", "-l"]).stdout


def test_a_password(make_host: MakeHost, tmp_path: Path) -> None:
    for server in running(SecretSshd(tmp_path / "password", "s3cret")):
        assert make_host(server, key_filename=None, password="s3cret").run(["echo", "in"]).stdout == "in\n"
        text = refusal(make_host, server, key_filename=None, password="wr0ng")
        assert "tried" in text
        assert "the password" in text
        assert "wr0ng" not in text


def test_a_password_that_is_asked_for_interactively(make_host: MakeHost, tmp_path: Path) -> None:
    for server in running(SecretSshd(tmp_path / "interactive", "s3cret", interactive=True)):
        assert make_host(server, key_filename=None, password="s3cret").run(["echo", "in"]).stdout == "in\n"


def test_a_one_time_password_is_right_once(make_host: MakeHost, tmp_path: Path) -> None:
    for server in running(SecretSshd(tmp_path / "otp", "111111", interactive=True, once=True)):
        make_host(server, key_filename=None, password="111111").connect()
        assert "login refused" in refusal(make_host, server, key_filename=None, password="111111")


def test_an_interactive_login_is_asked_for(make_host: MakeHost, sshd: Sshd) -> None:
    with pytest.raises(LoginNeeded):
        make_host(sshd, interactive_login=True).connect()


# Ways


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "no-such-host.invalid"}, "there is no host of that name"),
        ({"port": free_port()}, "Connection refused"),
        ({"gateway": "false"}, "no connection"),
    ],
    ids=["unknown host", "refused port", "proxy that fails"],
)
def test_no_way(make_host: MakeHost, sshd: Sshd, fields: dict[str, Any], expected: str) -> None:
    assert expected in refusal(make_host, sshd, **fields)


@pytest.mark.timing
def test_a_host_that_accepts_and_hangs(make_host: MakeHost, sshd: Sshd) -> None:
    with silent_server() as port:
        began = time.monotonic()
        refusal(make_host, sshd, port=port, connect_timeout=1)
        assert time.monotonic() - began < 5


def test_a_proxy_command(make_host: MakeHost, sshd: Sshd) -> None:
    proxy = f"{sshd.command('-i')[0]} -i -f {sshd.directory}/sshd_config # %h %p %r %%"
    host = make_host(sshd, host="somewhere", gateway=proxy)
    assert host.run(["echo", "in"]).stdout == "in\n"
    host.close()


def test_a_gateway_that_is_down(make_host: MakeHost, tmp_path: Path) -> None:
    # Given a host behind a gateway
    namespace = Namespace()
    gateway, inner = Gateway(tmp_path / "gateway", namespace), Sshd(tmp_path / "inner", prefix=namespace.enter)
    way = {"host": gateway.host, "port": gateway.port, "key_filename": str(gateway.key)}
    try:
        inner.start()
        # When the gateway does not run, then the error names it
        assert f":{gateway.port}: Connection refused" in refusal(make_host, inner, gateway=way)
        gateway.start()
        # When it runs, then the host is reached; a second gateway before it is one more hop
        nested = {**way, "gateway": {**way, "port": gateway.port}, "port": inner.port, "key_filename": str(inner.key)}
        assert make_host(inner, gateway=way).run(["echo", "in"]).stdout == "in\n"
        assert make_host(inner, gateway=nested).run(["echo", "in"]).stdout == "in\n"
        # When the host behind it is down, then the error says that the gateway was reached
        inner.stop()
        text = refusal(make_host, inner, gateway=way)
        assert f":{inner.port}: the gateway {gateway.user}@127.0.0.1:{gateway.port} cannot reach it" in text
    finally:
        inner.stop()
        gateway.stop()
        namespace.close()


def test_connect_kwargs(make_host: MakeHost, sshd: Sshd) -> None:
    assert make_host(sshd, connect_kwargs={"compress": True}).run(["echo", "in"]).stdout == "in\n"
    with pytest.raises(ConfigError, match=r"connect_kwargs .* 'compresss' is not an argument"):
        make_host(sshd, connect_kwargs={"compresss": True}).connect()


# ~/.ssh/config


@pytest.mark.parametrize("jump", [False, True], ids=["direct", "ProxyJump"])
def test_the_users_ssh_config(make_host: MakeHost, sshd: Sshd, home: Path, jump: bool) -> None:
    # Given an alias in an included file, with a key, and perhaps with a host before it
    (home / ".ssh" / "config").write_text("Include more/*\nHost *\n  IdentitiesOnly yes\n")
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "cluster").write_text(
        f"Host cluster before\n  HostName {sshd.host}\n  Port {sshd.port}\n  User {sshd.user}\n"
        f"  IdentityFile {sshd.key}\n  SetEnv JFR_MP_TEST_A=set\n"
        + ("Host cluster\n  ProxyJump before\n" if jump else "")
    )
    # When the worker names the alias alone
    logins = sshd.logins
    host = make_host(sshd, host="cluster", port=None, user=None, key_filename=None)
    # Then it is reached as the file says
    assert host.run(["printenv", "JFR_MP_TEST_A"]).stdout == "set\n"
    assert sshd.logins - logins == 1 + jump
    inline = make_host(sshd, host="cluster", port=None, user=None, key_filename=None, inline_ssh_env=True)
    assert inline.run(["printenv", "JFR_MP_TEST_A"]).stdout == "set\n"


def test_identities_only_lets_the_agent_use_the_named_key(
    make_host: MakeHost, own_sshd: Sshd, home: Path, agent: Agent, tmp_path: Path
) -> None:
    # Given an agent with the right key and others, and of the right key nothing else but the public half
    for number in range(8):
        agent.add(make_key(tmp_path / f"other{number}"))
    agent.add(own_sshd.key)
    own_sshd.key.unlink()
    # When the configuration names that key alone
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {own_sshd.key}\n")
    # Then the login succeeds before the server has had enough of wrong keys
    make_host(own_sshd, key_filename=None).connect()
