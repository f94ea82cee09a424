"""The users of the web page: a file of names, roles and hashed passwords."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from jfr_mp.errors import ConfigError, NotAllowed, NotFound

_NAME = re.compile(r"[\w.@+-]{1,64}")
#: The least length of a password.
LEAST_LENGTH = 10
#: scrypt: 16 MB of memory and some 50 ms for each attempt.
_COST = {"n": 2**14, "r": 8, "p": 1}
_SALT = 16


class GuiRole(StrEnum):
    """What a user may do."""

    READ = "read"
    OPERATE = "operate"


@dataclass(frozen=True)
class User:
    """A user of the file."""

    name: str
    role: GuiRole
    password: str


class Users:
    """The file of the users of one project, which is read again for each question.

    Parameters
    ----------
    path
        The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, User]:
        """Return the users by name.

        Raises
        ------
        ConfigError
            The file is not valid.
        """
        try:
            read = json.loads(self._path.read_text())
            return {name: User(name, GuiRole(fields["role"]), fields["password"]) for name, fields in read.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self._path} is not a file of users ({error}); remove it and add the users") from error

    def add(self, name: str, role: GuiRole, password: str) -> None:
        """Add a user, or give one another role and password.

        Raises
        ------
        NotAllowed
            The name or the password is not possible.
        """
        if not _NAME.fullmatch(name):
            raise NotAllowed(f"{name[:64]!r} is not a user name: use letters, digits and . _ @ + - only")
        if len(password) < LEAST_LENGTH:
            raise NotAllowed(f"the password has fewer than {LEAST_LENGTH} characters")
        self._write({**self.all(), name: User(name, role, _hashed(password, secrets.token_bytes(_SALT)))})

    def remove(self, name: str) -> None:
        """Remove a user, who is logged out at once.

        Raises
        ------
        NotFound
            There is no such user.
        """
        users = self.all()
        if users.pop(name, None) is None:
            raise NotFound(f"there is no user {name}")
        self._write(users)

    def check(self, name: str, password: str) -> User | None:
        """Return the user if the password is right, in the same time whether the user exists or not."""
        user = self.all().get(name)
        salt = bytes.fromhex(user.password.partition("$")[0]) if user else bytes(_SALT)
        attempt = _hashed(password, salt)
        return user if user and hmac.compare_digest(attempt, user.password) else None

    def _write(self, users: Mapping[str, User]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = {user.name: {"role": user.role, "password": user.password} for user in users.values()}
        write_private(self._path, json.dumps(content, indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at once and as a whole."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)


def _hashed(password: str, salt: bytes) -> str:
    hashed = hashlib.scrypt(password.encode(), salt=salt, dklen=32, **_COST)
    return f"{salt.hex()}${hashed.hex()}"
