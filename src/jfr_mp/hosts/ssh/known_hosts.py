"""Host keys: those that the user knows, and those that the project has recorded at first sight."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from paramiko import PKey
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostUnreachable

#: The file in a project's base_dir in which the keys of its hosts are recorded.
KNOWN_HOSTS = "known_hosts"
_SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")


class KnownHosts:
    """Verifies the keys of hosts: like OpenSSH, but a key that nobody knows is recorded without a question.

    Parameters
    ----------
    user_files
        The user's files, which are only read. What they say about a host goes first.
    own_file
        Where keys are recorded; None to refuse the hosts that the user's files do not know.
    """

    def __init__(self, user_files: Sequence[Path], own_file: Path | None) -> None:
        self._user_files = (*user_files, _SYSTEM_FILE)
        self._own_file = own_file

    def key_types(self, name: str) -> list[str]:
        """Return the types of the known keys of a host: the host has to show one of those."""
        return [key.get_name() for _, key in self._keys(name)]

    def verify(self, name: str, key: PKey, *, record: bool = True) -> None:
        """Check the key that a host has shown.

        Parameters
        ----------
        name
            The host as known_hosts has it: ``host``, or ``[host]:port`` where the port is not 22.
        key
            The key.
        record
            Whether a host that nobody knows may be recorded.

        Raises
        ------
        HostUnreachable
            The key is not the known one, or nobody knows the host and it may not be recorded.
        """
        if self._is_known(name, key):
            return
        if self._own_file is None or not record:
            raise HostUnreachable(
                f"host {name} shows the key {describe(key)}, and nobody knows it: "
                "log in with ssh once and accept it, or add it to ~/.ssh/known_hosts"
            )
        self._own_file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self._own_file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have seen the host first, with another key.
            if not self._is_known(name, key):
                file.write(HostKeyEntry([name], key).to_line() or "")

    def _is_known(self, name: str, key: PKey) -> bool:
        """Tell whether a key is known; another one in its place is an error."""
        known = list(self._keys(name))
        if any(other.asbytes() == key.asbytes() for _, other in known):
            return True
        if known:
            path, other = known[0]
            raise HostUnreachable(
                f"the key of host {name} has changed: {path} has {describe(other)}, the host shows {describe(key)}. "
                "Somebody may be listening in, or the host was set up anew. "
                f"If you know that the new key is right, accept it: ssh-keygen -R '{name}' -f '{path}'"
            )
        return False

    def _keys(self, name: str) -> Iterator[tuple[Path, PKey]]:
        """Return the known keys of a host and where they stand; the first file that knows the host decides."""
        files = [*self._user_files, self._own_file] if self._own_file else self._user_files
        for path in files:
            found = [(path, entry.key) for entry in _entries(path) if _matches(entry, name)]
            if found:
                yield from ((path, key) for path, key in found if key is not None)
                return


def describe(key: PKey) -> str:
    """Return the type and the fingerprint of a key, as OpenSSH shows them."""
    return f"{key.get_name()} {key.fingerprint}"


def _entries(path: Path) -> Iterator[HostKeyEntry]:
    """Read a file of host keys; lines that paramiko does not understand, such as certificates, are passed over."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith(("#", "@")):
            continue
        try:
            entry = HostKeyEntry.from_line(" ".join(line.split()), number)
        except (InvalidHostKey, SSHException, ValueError):
            continue
        if entry is not None:
            yield entry


def _matches(entry: HostKeyEntry, name: str) -> bool:
    """Tell whether a line is about a host; its names may be hashed or patterns, and a pattern may exclude."""
    patterns = entry.hostnames or []
    if any(pattern.startswith("!") and _covers(pattern[1:], name) for pattern in patterns):
        return False
    return any(_covers(pattern, name) for pattern in patterns)


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return HostKeys.hash_host(name, pattern) == pattern
    # A bracket is part of the name here, not of a pattern.
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
