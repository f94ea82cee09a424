"""Logging in with the help of the user at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.config.workers import SshWorker
from jfr_mp.errors import ConfigError, JfrMpError
from jfr_mp.hosts.login.logins import open_login
from jfr_mp.hosts.ssh.questions import Question
from jfr_mp.hosts.ssh.ssh_config import endpoints

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.hosts.ssh.endpoint import Endpoint


def logins(project: Project, name: str | None = None) -> Iterator[Endpoint]:
    """Return the endpoints to log in at for a worker, or a host, or for all workers, each once.

    Raises
    ------
    ConfigError
        There is no such worker or host, or the user does not have to log in there.
    """
    interactive = {
        worker_name: worker
        for worker_name, worker in project.workers.items()
        if isinstance(worker, SshWorker) and worker.interactive_login
    }
    found = [worker for key, worker in interactive.items() if name in (None, key, worker.host)]
    if not found:
        if name in project.workers:
            raise ConfigError(f"the worker {name!r} needs no login by the user: it has no `interactive_login: true`")
        known = f"; known: {', '.join(interactive)}" if interactive else ""
        what = "no worker" if name is None else f"{name!r} is no worker and no host of one"
        raise ConfigError(f"{what} of project {project.name} with `interactive_login: true`{known}")
    seen = []
    for worker in found:
        for _, endpoint in endpoints(worker):
            if endpoint not in seen:
                seen.append(endpoint)
                yield endpoint


def log_in(endpoint: Endpoint, project: Project) -> bool:
    """Log in with the help of the user at the terminal; return whether that was needed."""
    return open_login(endpoint, Path(project.base_dir), _answer)


def _answer(question: Question) -> list[str]:
    """Ask the user at the terminal what the host asks."""
    if not sys.stdin.isatty():
        raise JfrMpError(f"{question.host} asks for something: run `jfr-mp connect` on a terminal")
    for text in (f"{question.host} asks:", question.title, question.instructions):
        if text.strip():
            print(_printable(text).rstrip(), file=sys.stderr)
    return [
        input(_printable(prompt)) if visible else getpass(_printable(prompt)) for prompt, visible in question.prompts
    ]


def _printable(text: str) -> str:
    """Remove the characters by which a host could control the terminal."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")
