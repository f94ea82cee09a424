"""Where an SSH connection goes and how: the project file first, then the user's ``~/.ssh/config``, then defaults."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paramiko import SSHConfig
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jfr_mp.config.workers import ConnectionData, SshWorker

#: Seconds to reach a host, where nobody says anything else.
CONNECT_TIMEOUT = 10.0
_SSH_PORT = 22
#: A hop of ProxyJump: ``[user@]host[:port]``, also as a URL; brackets are for IPv6.
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?/?")
#: An `Include` within an `Include` within ... ends here, as for OpenSSH.
_DEPTH = 16


@dataclass(frozen=True)
class Endpoint:
    """A host and all that it takes to log in there.

    Parameters
    ----------
    host, port, user
        Where to go, as whom.
    key_name
        What known_hosts calls the host.
    key_files
        The private keys to try, in this order.
    use_agent, use_default_keys
        Whether the keys of the SSH agent, and those of the usual names in ``~/.ssh``, are tried too.
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
        Whether the key of a host that nobody knows is recorded, rather than refused.
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
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != _SSH_PORT else "")


class SshConfig:
    """What the user's ``~/.ssh/config`` says; a file that does not exist says nothing.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path.home() / ".ssh" / "config"
        try:
            lines = list(_lines(self._path)) if self._path.exists() else []
            self._config = SSHConfig.from_text("\n".join(lines))
        except (OSError, UnicodeDecodeError, SSHException) as error:
            raise ConfigError(f"{self._path}: {error}") from error

    def endpoint(self, data: ConnectionData | SshWorker, **shared: Any) -> Endpoint:
        """Return how to reach a host of the project file.

        Parameters
        ----------
        data
            What the project file says.
        shared
            Fields of `Endpoint` that count for all hosts on the way, where the file says nothing else.
        """
        from jfr_mp.config.workers import ConnectionData

        proxy: dict[str, Any] = {}
        if isinstance(data.gateway, ConnectionData):
            proxy = {"gateway": self.endpoint(data.gateway, **shared), "proxy_command": None}
        elif data.gateway:
            proxy = {"gateway": None, "proxy_command": data.gateway}
        key_files = [data.key_filename] if isinstance(data.key_filename, str) else data.key_filename
        given = {
            "user": data.user,
            "port": data.port,
            "password": data.password,
            "passphrase": data.passphrase,
            "key_files": tuple(Path(name).expanduser() for name in key_files) if key_files else None,
            "options": dict(data.connect_kwargs) if data.connect_kwargs else None,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return self._endpoint(data.host, {**shared, **chosen, **proxy}, hops=0)

    def _endpoint(self, alias: str, given: Mapping[str, Any], *, hops: int) -> Endpoint:
        """Return how to reach a host by the name that somebody gave it."""
        if hops > _DEPTH:
            raise ConfigError(f"{self._path}: the ProxyJump of {alias!r} leads in a circle")
        try:
            found = self._config.lookup(alias)
            said = {**self._from_file(found), **given}
        except (SSHException, ValueError, KeyError) as error:
            raise ConfigError(f"{self._path}: the part about {alias!r} is not valid: {error}") from error
        said.setdefault("user", getpass.getuser())
        said.setdefault("port", _SSH_PORT)
        host = found["hostname"]
        name = found.get("hostkeyalias") or host
        if said["port"] != _SSH_PORT and "hostkeyalias" not in found:
            name = f"[{host}]:{said['port']}"
        if "gateway" not in said and "proxy_command" not in said:
            said.update(self._proxy(found, given, hops))
        if said.get("proxy_command"):
            said["proxy_command"] = _expanded(said["proxy_command"], host, said)
        return Endpoint(host=host, key_name=name, **said)

    def _from_file(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Translate options of the file into fields of an `Endpoint`."""
        only = found.get("identitiesonly", "no").lower() == "yes"
        known_hosts = shlex.split(found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
        said: dict[str, Any] = {
            "known_hosts": tuple(Path(name).expanduser() for name in known_hosts),
            "record_new_keys": found.get("stricthostkeychecking", "ask").lower() not in ("yes", "true"),
            # OpenSSH passes over those that are not there.
            "key_files": tuple(
                path
                for name in found.get("identityfile", [])
                if (path := Path(name).expanduser()).exists() or public_half(path).exists()
            ),
            "use_agent": not only,
            "use_default_keys": not only,
        }
        if "user" in found:
            said["user"] = found["user"]
        if "port" in found:
            said["port"] = int(found["port"])
        if "connecttimeout" in found and found["connecttimeout"] != "none":
            said["timeout"] = float(found["connecttimeout"])
        if found.get("forwardagent", "no").lower() == "yes":
            said["forward_agent"] = True
        if "setenv" in found:
            said["environment"] = dict(item.split("=", 1) for item in shlex.split(found["setenv"]))
        return said

    def _proxy(self, found: Mapping[str, Any], given: Mapping[str, Any], hops: int) -> dict[str, Any]:
        """Return what the file says about the way to the host."""
        jump = found.get("proxyjump", "none")
        if jump.lower() != "none":
            # What the project file says of the host itself does not count for those before it.
            shared = {name: given[name] for name in ("timeout", "keepalive") if name in given}
            gateway: Endpoint | None = None
            for hop in jump.split(","):
                match = _HOP.fullmatch(hop.strip())
                if match is None:
                    raise ConfigError(f"{self._path}: ProxyJump: {hop.strip()!r} is not [user@]host[:port]")
                asked = {"user": match["user"], "port": match["port"] and int(match["port"])}
                before = {"gateway": gateway} if gateway else {}
                chosen = {name: value for name, value in asked.items() if value}
                gateway = self._endpoint(match["v6"] or match["host"], {**shared, **chosen, **before}, hops=hops + 1)
            return {"gateway": gateway}
        return {"proxy_command": found["proxycommand"]} if found.get("proxycommand") else {}


def public_half(key_file: Path) -> Path:
    """Return the file with the public half of a key, which a key file may be itself."""
    return key_file if key_file.suffix == ".pub" else key_file.with_name(f"{key_file.name}.pub")


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    """Return the lines of a configuration file with those of the files that it includes, which paramiko does not do."""
    block = "Host *"
    for line in path.read_text().splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() == "include" and depth < _DEPTH:
            for pattern in shlex.split(rest):
                home = Path.home() / ".ssh"
                absolute = Path(pattern).expanduser()
                base = Path(absolute.anchor) if absolute.is_absolute() else home
                for included in sorted(base.glob(str(absolute.relative_to(absolute.anchor)))):
                    yield from _lines(included, depth + 1)
            # A `Host` of an included file ends with it.
            yield block
            continue
        if keyword.lower() in ("host", "match"):
            block = line
        yield line


def _expanded(command: str, host: str, said: Mapping[str, Any]) -> str:
    """Put the host into a ProxyCommand."""
    values = {"%h": host, "%p": str(said["port"]), "%r": said["user"], "%%": "%"}
    return re.sub("%[hpr%]", lambda match: values[match[0]], command)
