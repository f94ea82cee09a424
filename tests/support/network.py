"""A network of several machines on this one, whose machines can be cut off from each other; it needs root."""

from __future__ import annotations

import secrets
import subprocess

from tests.support.sshd import Namespace


class Network:
    """A bridge with a namespace for each machine; this machine reaches all of them.

    Parameters
    ----------
    machines
        How many there are.
    """

    def __init__(self, machines: int) -> None:
        # A range for tests of networks (RFC 2544), and a part of it for each network at a time.
        self._name, self._subnet = f"jfr{secrets.token_hex(3)}", f"198.18.{secrets.randbelow(254) + 1}"
        self._namespaces: list[Namespace] = []
        _ip("link", "add", self._name, "type", "bridge")
        _ip("addr", "add", f"{self._subnet}.1/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for number in range(machines):
            self._namespaces.append(namespace := Namespace())
            outside, inside = f"{self._name}o{number}", f"{self._name}i{number}"
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            _ip("link", "set", outside, "master", self._name, "up")
            _ip("link", "set", inside, "netns", str(namespace.pid))
            _ip("addr", "add", f"{self.address(number)}/24", "dev", inside, enter=namespace.enter)
            _ip("link", "set", inside, "up", enter=namespace.enter)

    def address(self, number: int) -> str:
        """Return the address of a machine."""
        return f"{self._subnet}.{number + 10}"

    def enter(self, number: int) -> tuple[str, ...]:
        """Return what stands before a command that is to run on a machine."""
        return self._namespaces[number].enter

    def cut_off(self, number: int) -> None:
        """Drop all packets between a machine and the other ones; this machine reaches it all the same."""
        self._route("add", number)

    def join(self, number: int) -> None:
        """Let a machine reach the other ones again."""
        self._route("del", number)

    def close(self) -> None:
        """Give it up, when its processes have ended."""
        _ip("link", "del", self._name)
        for namespace in self._namespaces:
            namespace.close()

    def _route(self, action: str, number: int) -> None:
        for other in range(len(self._namespaces)):
            if other != number:
                _ip("route", action, "blackhole", f"{self.address(other)}/32", enter=self.enter(number))


def _ip(*arguments: str, enter: tuple[str, ...] = ()) -> None:
    subprocess.run([*enter, "ip", *arguments], check=True, stdin=subprocess.DEVNULL)
