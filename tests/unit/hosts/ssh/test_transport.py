from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jfr_mp.hosts.ssh.transport import OrderlyTransport

CERTIFICATE = "-cert-v01@openssh.com"


@pytest.fixture
def transport() -> Iterator[OrderlyTransport]:
    near, far = socket.socketpair()
    with near, far:
        yield OrderlyTransport(near)


def test_known_types_of_key_go_first(transport: OrderlyTransport) -> None:
    transport.ask_for_keys(["ssh-rsa"], certificates=False)
    assert transport.preferred_keys[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    assert "ssh-ed25519" in transport.preferred_keys
    transport.ask_for_keys(["ssh-ed25519"], certificates=False)
    assert transport.preferred_keys[0] == "ssh-ed25519"


def test_certificates_are_asked_for_only_if_they_can_be_verified(transport: OrderlyTransport) -> None:
    transport.ask_for_keys(["ssh-ed25519"], certificates=False)
    assert not any(name.endswith(CERTIFICATE) for name in transport.preferred_keys)
    transport.ask_for_keys(["ssh-ed25519"], certificates=True)
    names = transport.preferred_keys
    assert names[0] == f"ssh-ed25519{CERTIFICATE}"
    assert names.index("ssh-ed25519") == len(names) // 2
    assert len(names) == len(set(names))
