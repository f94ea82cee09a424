"""A host and everything that is needed to log in there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds to reach a host, unless the project file or the user's configuration says otherwise.
CONNECT_TIMEOUT = 10.0
SSH_PORT = 22


@dataclass(frozen=True)
class Endpoint:
    """A host and everything that is needed to log in there.

    Parameters
    ----------
    host, port, user
        Where to go, and as which user.
    key_name
        The name of the host in known_hosts.
    key_files
        The private keys to try, in this order.
    use_agent, use_default_keys
        Whether to try the keys of the SSH agent, and those with the usual names in ``~/.ssh``, too.
    password, passphrase
        Secrets, never shown.
    timeout
        Seconds to reach the host.
    keepalive
        Seconds between messages that keep an idle connection open; 0 for none.
    forward_agent
        Whether the host may use the SSH agent of this machine.
    proxy_command
        A command whose input and output are the connection, or None.
    gateway
        The host before this one, or None.
    known_hosts
        The user's files with host keys.
    record_new_keys
        Whether the key of an unknown host is recorded instead of refused.
    environment
        Variables for the commands.
    options
        Further arguments of paramiko's ``SSHClient.connect``.
    """

    host: str
    port: int
    user: str
    key_name: str
    key_files: tuple[Path, ...] = ()
    use_agent: bool = True
    use_default_keys: bool = True
    password: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    timeout: float = CONNECT_TIMEOUT
    keepalive: int = 0
    forward_agent: bool = False
    proxy_command: str | None = None
    gateway: Endpoint | None = None
    known_hosts: tuple[Path, ...] = ()
    record_new_keys: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """Return user, host and, unless it is the usual one, port."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")


def public_half(key_file: Path) -> Path:
    """Return the file with the public half of a key; a key file may be that file itself."""
    return key_file if key_file.suffix == ".pub" else key_file.with_name(f"{key_file.name}.pub")
