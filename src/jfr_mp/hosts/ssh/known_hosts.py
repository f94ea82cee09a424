"""Host keys: the keys that the user knows, and the keys that the project has recorded on first contact."""

from __future__ import annotations

import fcntl
import hmac
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from paramiko import PKey
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.host_certificate import HostCertificate

#: The file in a project's base_dir in which the keys of its hosts are recorded.
KNOWN_HOSTS = "known_hosts"
_SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")
_AUTHORITY, _REVOKED = "@cert-authority", "@revoked"
_WITH_PORT = re.compile(r"\[(?P<host>.*)\]:\d+")


@dataclass(frozen=True)
class _Line:
    """A line of a file of host keys; `marker` is empty, `_AUTHORITY` or `_REVOKED`."""

    path: Path
    number: int
    marker: str
    names: tuple[str, ...]
    key: PKey

    def is_about(self, name: str) -> bool:
        """Whether the line is about a host; its names may be hashed or patterns, and a pattern may exclude."""
        if any(pattern.startswith("!") and _covers(pattern[1:], name) for pattern in self.names):
            return False
        return any(_covers(pattern, name) for pattern in self.names)


class KnownHosts:
    """Verifies host keys as OpenSSH does, except that an unknown key is recorded without a question.

    Parameters
    ----------
    user_files
        The user's files, which are only read. They take precedence over `own_file`.
    own_file
        The file in which keys are recorded; None to refuse the hosts that the user's files do not know.
    """

    def __init__(self, user_files: Sequence[Path], own_file: Path | None) -> None:
        self._user_files = (*user_files, _SYSTEM_FILE)
        self._own_file = own_file

    def key_types(self, name: str) -> list[str]:
        """Return the types of the known keys of a host: the host has to show one of those keys."""
        return [line.key.get_name() for line in self._keys(name)]

    def has_authority(self, name: str) -> bool:
        """Whether a certificate authority is trusted for a host."""
        return bool(self._marked(_AUTHORITY, name))

    def verify(self, name: str, key: PKey, *, record: bool = True) -> None:
        """Check the key that a host has shown.

        Parameters
        ----------
        name
            The host as known_hosts has it: ``host``, or ``[host]:port`` if the port is not 22.
        key
            The key, perhaps with a certificate.
        record
            Whether the key of an unknown host may be recorded.

        Raises
        ------
        HostUnreachable
            The key is not the known one, or is revoked, or the host is unknown and may not be recorded.
        """
        certificate = HostCertificate.of(key)
        self._refuse_revoked(name, key, certificate)
        authorities = self._marked(_AUTHORITY, name)
        fault = "shows no certificate"
        if authorities and certificate:
            why = certificate.fault(_without_port(name), {line.key.asbytes() for line in authorities})
            if why is None:
                return
            fault = f"shows a certificate that {why}"
        if self._is_known(name, key):
            return
        if authorities:
            # To record the key would be to accept any key instead of a certificate.
            raise HostUnreachable(
                f"host {name} {fault}, and its key {describe(key)} is unknown; {_place(authorities[0])} trusts a "
                "certificate authority for this host. If you know that the key is right, log in with ssh once and "
                "accept it"
            )
        if self._own_file is None or not record:
            raise HostUnreachable(
                f"host {name} shows the unknown key {describe(key)}: "
                "log in with ssh once and accept it, or add it to ~/.ssh/known_hosts"
            )
        self._record(self._own_file, name, key)

    def _refuse_revoked(self, name: str, key: PKey, certificate: HostCertificate | None) -> None:
        """Refuse a key, or a certificate by an authority, that any of the files revokes."""
        shown = {key.asbytes(), certificate.authority if certificate else b""}
        for line in self._marked(_REVOKED, name):
            if line.key.asbytes() in shown:
                raise HostUnreachable(
                    f"host {name} shows the key {describe(key)}, and {_place(line)} revokes "
                    f"{describe(line.key)}. Another host may be impersonating the host: ask its administrators"
                )

    def _is_known(self, name: str, key: PKey) -> bool:
        """Whether a key is known; another one in its place is an error."""
        known = list(self._keys(name))
        if any(line.key.asbytes() == key.asbytes() for line in known):
            return True
        if known:
            path, other = known[0].path, known[0].key
            raise HostUnreachable(
                f"the key of host {name} has changed: {path} has {describe(other)}, the host shows {describe(key)}. "
                "Another host may be intercepting the connection, or the host was reinstalled. "
                f"If you know that the new key is right, accept it: ssh-keygen -R '{name}' -f '{path}'"
            )
        return False

    def _record(self, own_file: Path, name: str, key: PKey) -> None:
        own_file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(own_file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have seen the host first, with another key.
            if not self._is_known(name, key):
                file.write(HostKeyEntry([name], key).to_line() or "")

    def _keys(self, name: str) -> list[_Line]:
        """Return the known keys of a host; the first file that knows the host decides."""
        for path in self._files:
            if found := [line for line in _lines(path) if not line.marker and line.is_about(name)]:
                return found
        return []

    def _marked(self, marker: str, name: str) -> list[_Line]:
        """Return the lines with a marker that are about a host, of all files; they may leave out the port."""
        names = {name, _without_port(name)}
        return [
            line
            for path in self._files
            for line in _lines(path)
            if line.marker == marker and any(line.is_about(one) for one in names)
        ]

    @property
    def _files(self) -> Iterator[Path]:
        yield from self._user_files
        if self._own_file:
            yield self._own_file


def describe(key: PKey) -> str:
    """Return the type and the fingerprint of a key, as OpenSSH shows them."""
    return f"{key.get_name()} {key.fingerprint}"


def _place(line: _Line) -> str:
    return f"line {line.number} of {line.path}"


def _without_port(name: str) -> str:
    match = _WITH_PORT.fullmatch(name)
    return match["host"] if match else name


def _lines(path: Path) -> Iterator[_Line]:
    """Read a file of host keys; lines with unknown markers or types of key are passed over, as OpenSSH does."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if marker not in ("", _AUTHORITY, _REVOKED):
            continue
        try:
            entry = HostKeyEntry.from_line(" ".join(words), number)
        except (InvalidHostKey, SSHException, ValueError):
            continue
        if entry is not None and entry.key is not None:
            yield _Line(path, number, marker, tuple(entry.hostnames or ()), entry.key)


def _is_hash_of(pattern: str, name: str) -> bool:
    """Return whether ``|1|salt|hash`` is the hash of a name; paramiko's function fails for a damaged one."""
    try:
        salt, hashed = (b64decode(part, validate=True) for part in pattern.removeprefix("|1|").split("|"))
    except ValueError:
        return False
    return hmac.digest(salt, name.encode(), "sha1") == hashed


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _is_hash_of(pattern, name)
    # A bracket is part of the name here, not of a pattern.
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
