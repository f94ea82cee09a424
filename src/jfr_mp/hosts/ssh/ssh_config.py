"""The target of an SSH connection: by the project file, then the user's ``~/.ssh/config``, then defaults."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paramiko import SSHConfig
from paramiko.ssh_exception import SSHException

from jfr_mp.config.workers import ConnectionData, SeparatedTransferWorker, SshWorker
from jfr_mp.errors import ConfigError
from jfr_mp.hosts.ssh.endpoint import SSH_PORT, Endpoint, public_half

#: A hop of ProxyJump: ``[user@]host[:port]``, also as a URL; brackets are for IPv6.
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?/?")
#: An `Include` within an `Include` within ... ends here, as for OpenSSH.
_DEPTH = 16


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
        # A ValueError comes from bytes that are not text or an open quotation, a RuntimeError from an unknown user.
        except (OSError, ValueError, RuntimeError, SSHException) as error:
            raise ConfigError(f"{self._path}: {error}") from error

    def endpoint(self, data: ConnectionData | SshWorker, **shared: Any) -> Endpoint:
        """Return how to reach a host of the project file.

        Parameters
        ----------
        data
            What the project file says.
        shared
            Fields of `Endpoint` for all hosts on the way, unless the project file sets them for one.
        """
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
        """Return how to reach a host, given its name or an alias of the user's file."""
        if hops > _DEPTH:
            raise ConfigError(f"{self._path}: the ProxyJump of {alias!r} leads in a circle")
        try:
            found = self._config.lookup(alias)
            said = {**self._from_file(found), **given}
        except (SSHException, ValueError, KeyError) as error:
            raise ConfigError(f"{self._path}: the part about {alias!r} is not valid: {error}") from error
        said.setdefault("user", getpass.getuser())
        said.setdefault("port", SSH_PORT)
        host = found["hostname"]
        name = found.get("hostkeyalias") or host
        if said["port"] != SSH_PORT and "hostkeyalias" not in found:
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
            # OpenSSH ignores key files that do not exist.
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
            # What the project file says of the host itself does not apply to its gateways.
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


def endpoints(worker: SshWorker) -> list[tuple[str, Endpoint]]:
    """Return where the connections of a worker go, each with its name in the project file.

    The first is for commands; if there is a second, it is for files.

    Raises
    ------
    ConfigError
        ``~/.ssh/config`` cannot be read or is not valid.
    """
    config = SshConfig()
    given = {
        "timeout": worker.connect_timeout,
        "keepalive": worker.keepalive or 0,
        "forward_agent": worker.forward_agent,
    }
    shared = {field: value for field, value in given.items() if value is not None}
    transfer = _transfer_host(worker)
    return [(data.host, config.endpoint(data, **shared)) for data in (worker, transfer) if data is not None]


def _transfer_host(worker: SshWorker) -> ConnectionData | None:
    """Return the host that takes the files; what it leaves out is as for the first one."""
    if not isinstance(worker, SeparatedTransferWorker):
        return None
    transfer = worker.transfer
    inherited: dict[str, Any] = {"user": transfer.user or worker.user, "port": transfer.port or worker.port}
    secrets = ("password", "key_filename", "passphrase", "connect_kwargs")
    if not any(getattr(transfer, field) for field in secrets):
        inherited.update((field, getattr(worker, field)) for field in secrets)
    return transfer.model_copy(update=inherited)


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    """Return the lines of a configuration file and of the files that it includes; paramiko does not read the latter."""
    block = "Host *"
    for line in path.read_text().splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() == "include" and depth < _DEPTH:
            for pattern in shlex.split(rest):
                home = Path.home() / ".ssh"
                absolute = Path(pattern).expanduser()
                base = Path(absolute.anchor) if absolute.is_absolute() else home
                if absolute in (base, Path()):
                    raise ValueError(f"Include {pattern}: is a directory")
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
