"""The targets of notifications: their URLs, which contain secrets, and how messages are sent to them.

No text that leaves this module contains a secret: URLs are masked, and the errors of libraries are searched for parts
of the URL.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from jfr_mp.errors import ConfigError, DeliveryFailed
from jfr_mp.logs import clean

if TYPE_CHECKING:
    from jfr_mp.config.notifications import NotifyTarget

#: Schemas whose URL begins with the name of a host; in others, that place may contain a secret.
_WITH_HOST = ("form", "forms", "json", "jsons", "mailto", "mailtos", "xml", "xmls")
_MASK = "***"
#: Shorter parts of a URL are not searched for in errors.
_LEAST = 3
#: How much of a file is read for a URL.
_LONGEST_URL = 10_000
#: The longest error that is kept.
_LONGEST = 300
#: The part of the time of a delivery that the library may wait for one answer of a server.
_SHARE = 0.8


def address(name: str, target: NotifyTarget) -> str:
    """Return the URL of a target.

    Raises
    ------
    ConfigError
        The variable or the file that has it cannot be read, or is empty.
    """
    what = f"the notification target {name}"
    if target.url is not None:
        found, where = target.url, "url"
    elif target.env is not None:
        found, where = os.environ.get(target.env, ""), f"the environment variable {target.env}"
    else:
        found, where = _first_line(what, Path(target.file or "").expanduser()), f"the file {target.file}"
    if not found.strip():
        raise ConfigError(f"{what} has no URL: {where} is not set, or empty")
    return found.strip()


def _first_line(what: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LONGEST_URL).strip().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} cannot be used: {path} cannot be read: {type(error).__name__}") from None


def masked(url: str) -> str:
    """Return a URL without its secrets, such as ``mailto://***@smtp.example.org`` or ``slack://***``."""
    schema, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[a-zA-Z0-9]{1,20}", schema):
        return _MASK
    host = _host(url) if schema.lower() in _WITH_HOST else ""
    return f"{schema}://{_MASK}{'@' if host else ''}{host}"


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return ""


def without_secrets(text: str, url: str) -> str:
    """Return a text without anything that stands in a URL, except for its schema and a host that can be shown.

    Libraries write parts of a URL decoded, encoded again, or in small letters.
    """
    schema, separator, rest = url.partition("://")
    schema, rest = (schema, rest) if separator else ("", url)
    host = _host(url) if schema.lower() in _WITH_HOST else ""
    shown = {schema.lower(), host, host.rpartition(":")[0] or host, host.rpartition(":")[2]}
    # The name and the password as they are, too: they may contain the characters at which a URL is split.
    credentials, _, _ = rest.partition("/")[0].rpartition("@")
    parts = {*re.split(r"[/?&=:@#,;]", rest), *credentials.partition(":")}
    parts |= {value for pair in parse_qsl(rest.partition("?")[2]) for value in pair}
    parts |= {unquote(part) for part in parts}
    parts |= {quote(part, safe="") for part in parts}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _LEAST and part.lower() not in shown:
            text = re.sub(re.escape(part), _MASK, text, flags=re.IGNORECASE)
    return text


def open_target(name: str, target: NotifyTarget, timeout: float = 30.0) -> tuple[Any, str]:
    """Return the service of a target, to which nothing has been sent, and its URL.

    Parameters
    ----------
    timeout
        Seconds that one delivery may take.

    Raises
    ------
    ConfigError
        apprise is not installed, the URL cannot be read, or apprise does not know such a service.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError(
            "notifications need the package apprise: install it with `pip install 'jfr-mp[notify]'`"
        ) from None
    url = address(name, target)
    asset = apprise.AppriseAsset(app_id="jfr-mp", app_desc="jfr-mp", app_url="", async_mode=False)
    with _log_of(apprise, "ERROR"):
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is None:
        raise ConfigError(
            f"the notification target {name} cannot be used: {masked(url)} is not a URL of a service that apprise "
            "knows; see https://appriseit.com/services/"
        )
    service.socket_connect_timeout = service.socket_read_timeout = _SHARE * timeout
    return service, url


def _log_of(apprise: Any, level: str) -> Any:
    """Return a context manager that catches what the library logs, which may contain secrets."""
    return apprise.LogCapture(level=getattr(apprise.logging, level), fmt="%(message)s")


def send(name: str, target: NotifyTarget, title: str, body: str, timeout: float = 30.0) -> None:
    """Send a message to a target.

    Raises
    ------
    ConfigError
        See `open_target`.
    DeliveryFailed
        The service did not accept it.
    """
    import apprise

    service, url = open_target(name, target, timeout)
    sender = apprise.Apprise(asset=service.asset)
    sender.add(service)
    with _log_of(apprise, "WARNING") as log:
        try:
            done = bool(sender.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT))
        except Exception as error:  # noqa: BLE001 - a service may raise anything, and its text may contain secrets
            log.write(f"{type(error).__name__}: {error}")
            done = False
        told = " ".join(log.getvalue().split())
    if not done:
        why = without_secrets(clean(told), url)[:_LONGEST] or "the service did not accept the message"
        raise DeliveryFailed(f"{name} ({masked(url)}): {why}")
