"""The command that opens a shell for the user on the host of a worker, through the user's own ssh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jfr_mp.errors import ConfigError
from jfr_mp.hosts.quoting import one_word, quote

if TYPE_CHECKING:
    from jfr_mp.config.workers import WorkerBase


def shell_command(worker: WorkerBase, directory: str, shell: str) -> list[str]:
    """Return the command that opens an interactive shell in a directory on the host of a worker.

    Raises
    ------
    ConfigError
        The worker logs in in a way that the command line of ssh does not offer.
    """
    script = f"cd {quote([directory])} && exec {quote([shell])}"
    if worker.is_local:
        return ["sh", "-c", script]
    return ["ssh", "-t", *_options(worker), worker.host, f"sh -c {one_word(script)}"]  # type: ignore[attr-defined]  # not local


def _options(worker: object) -> Iterator[str]:
    """Yield the options of ssh for a worker, as far as its configuration differs from the user's own."""
    for flag, name in (("-p", "port"), ("-l", "user")):
        value = getattr(worker, name, None)
        if value is not None:
            yield from (flag, str(value))
    keys = getattr(worker, "key_filename", None)
    for key in [keys] if isinstance(keys, str) else keys or ():
        yield from ("-i", key)
    gateway = getattr(worker, "gateway", None)
    if isinstance(gateway, str):
        yield from ("-J", gateway)
    elif gateway is not None:
        if gateway.gateway is not None:
            raise ConfigError("a gateway behind a gateway cannot be used for a shell; log in with ssh")
        name = f"{gateway.user}@{gateway.host}" if gateway.user else gateway.host
        yield from ("-J", f"{name}:{gateway.port}" if gateway.port else name)
