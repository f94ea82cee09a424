"""Running the web server in this process, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import AlreadyRunning, ConfigError

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: Seconds for which a connection without a request is kept, and for which open pages delay the stop.
_KEEP_ALIVE, _GRACE = 30, 1
#: Milliseconds after which a connection ends whose client takes nothing of what is sent.
_MOST_UNREAD = 60_000
_BACKLOG = 128


@dataclass(frozen=True)
class Listen:
    """Where the server listens.

    Parameters
    ----------
    host, port
        The address; port 0 for any free one.
    certificate, key
        Files for TLS; None for none.
    names
        Further values of the header Host that are served, such as the name of a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 5001
    certificate: Path | None = None
    key: Path | None = None
    names: Sequence[str] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def serve(project: Project, listen: Listen, say: Callable[[str], None]) -> None:
    """Serve the web page of a project until the process is interrupted.

    Parameters
    ----------
    project
        The project.
    listen
        The address.
    say
        Shows a line to the user: the link that logs in.

    Raises
    ------
    ConfigError
        The extra `gui` is not installed, or the address would carry passwords and cookies in the clear.
    AlreadyRunning
        The port is in use.
    """
    if not listen.is_loopback and listen.certificate is None:
        raise ConfigError(
            f"{listen.host} can be reached from other machines: give --tls-cert and --tls-key, or listen on 127.0.0.1 "
            "behind a proxy or an SSH tunnel"
        )
    try:
        import uvicorn

        from jfr_mp.gui.app import Gui
        from jfr_mp.gui.connections import MOST_CONNECTIONS, PatientConnection
    except ModuleNotFoundError as error:
        raise ConfigError(f"the web page needs {error.name}: pip install 'jfr-mp[gui]'") from error

    sock = _bound(listen)
    port = sock.getsockname()[1]
    scheme = "https" if listen.certificate else "http"
    shown = f"[{listen.host}]" if ":" in listen.host else listen.host
    gui = Gui(
        project,
        hosts=[*(f"{name}:{port}" for name in (shown, "localhost", "127.0.0.1", "[::1]")), *listen.names],
        secure=listen.certificate is not None,
        cookie=f"jfr_mp_{port}",
        on_link_used=lambda: tell("Another login"),
    )

    def tell(what: str) -> None:
        say(f"{what}: {scheme}://{shown}:{port}/login?token={gui.sessions.new_link()}")

    options: dict[str, Any] = {
        "http": PatientConnection,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": MOST_CONNECTIONS,
        "timeout_keep_alive": _KEEP_ALIVE,
        "timeout_graceful_shutdown": _GRACE,
        "ssl_certfile": listen.certificate,
        "ssl_keyfile": listen.key,
    }
    # Its warnings are about refused requests, and a client can send thousands of these.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    tell("Log in, once, within ten minutes")
    gui.warm_up()
    try:
        uvicorn.Server(uvicorn.Config(gui.application(), **options)).run(sockets=[sock])
    finally:
        gui.close()
        sock.close()


def _bound(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; connections inherit it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _MOST_UNREAD)
    try:
        sock.bind((listen.host, listen.port))
        # The link is shown before the server accepts connections, which wait here.
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise AlreadyRunning(f"{listen.host}:{listen.port} cannot be used ({error.strerror}); try --port 0") from error
    return sock
