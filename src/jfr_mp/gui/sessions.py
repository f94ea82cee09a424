"""Who is logged in: one-time links, cookies, and the tokens that forms carry."""

from __future__ import annotations

import getpass
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from itsdangerous import BadData, URLSafeTimedSerializer

from jfr_mp.gui.users import GuiRole, Users, write_private

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

#: Seconds for which a login is valid.
LIFETIME = 12 * 3600
#: Seconds for which a one-time link is valid.
_LINK_LIFETIME = 600.0
#: Who logs in with a link is the user who has started the server.
_OWNER = "@"


@dataclass(frozen=True)
class Session:
    """A user who is logged in.

    Parameters
    ----------
    user
        The name for the audit log.
    role
        What the user may do.
    csrf
        The text that each form has to contain.
    """

    user: str
    role: GuiRole
    csrf: str

    @property
    def may_act(self) -> bool:
        """Whether the user may change jobs."""
        return self.role is GuiRole.OPERATE

    def allows(self, csrf: str) -> bool:
        """Return whether a form with this token comes from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Issues and reads the cookies of a server.

    Parameters
    ----------
    directory
        Where the key is kept, so that logins outlast a restart of the server.
    users
        The users with a password.
    cookie
        The name of the cookie.
    secure
        Whether the browser sends it over TLS only.
    """

    def __init__(self, directory: Path, users: Users, *, cookie: str, secure: bool) -> None:
        self.users = users
        self._cookie = cookie
        self._secure = secure
        self._signer = URLSafeTimedSerializer(_key(directory), salt="session")
        self._links: dict[str, float] = {}

    def new_link(self) -> str:
        """Return a token that logs its first user in, once."""
        token = secrets.token_urlsafe(32)
        self._links = {token: time.monotonic() + _LINK_LIFETIME}
        return token

    def use_link(self, token: str) -> bool:
        """Return whether a token is valid, which it is not again."""
        known = next((link for link in self._links if hmac.compare_digest(link.encode(), token.encode())), None)
        return known is not None and self._links.pop(known) > time.monotonic()

    def log_owner_in(self, response: Response) -> str:
        """Log in the user who has started the server, and return the name."""
        self._set(response, _OWNER)
        return getpass.getuser()

    def log_in(self, response: Response, name: str, password: str) -> bool:
        """Log in a user with a password; return whether it is right."""
        if self.users.check(name, password) is None:
            return False
        self._set(response, name)
        return True

    def log_out(self, response: Response) -> None:
        """Remove the cookie."""
        response.delete_cookie(self._cookie, httponly=True, samesite="lax", secure=self._secure)

    def of(self, request: Request) -> Session | None:
        """Return the session of a request, or None if the user has to log in."""
        try:
            name, csrf = self._signer.loads(request.cookies.get(self._cookie, ""), max_age=LIFETIME)
        except (BadData, ValueError, TypeError):
            return None
        if name == _OWNER:
            return Session(getpass.getuser(), GuiRole.OPERATE, csrf)
        user = self.users.all().get(name)
        return Session(name, user.role, csrf) if user else None

    def login_of(self, request: Request) -> str | None:
        """Return what identifies the login of a request, if its cookie is one of this server; None for a stranger."""
        try:
            return str(self._signer.loads(request.cookies.get(self._cookie, ""), max_age=LIFETIME)[1])
        except (BadData, ValueError, TypeError, LookupError):
            return None

    def _set(self, response: Response, name: str) -> None:
        value = self._signer.dumps([name, secrets.token_urlsafe(24)])
        response.set_cookie(
            self._cookie, str(value), max_age=LIFETIME, httponly=True, samesite="lax", secure=self._secure, path="/"
        )


def _key(directory: Path) -> str:
    path = directory / "key"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_text()
