from __future__ import annotations

from paramiko import Channel

from jfr_mp.hosts.ssh.proxy import Tunnel


class BrokenChannel(Channel):
    """A channel of a connection that breaks while it is closed."""

    def close(self) -> None:
        raise EOFError


def test_a_tunnel_can_be_closed_when_the_gateway_has_gone() -> None:
    # Given a channel through a gateway that dies
    tunnel = Tunnel(BrokenChannel(7))
    assert tunnel.get_id() == 7
    # When it is closed, then nobody hears of that
    tunnel.close()
