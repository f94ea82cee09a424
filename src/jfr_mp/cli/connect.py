"""``jfr-mp connect``: the login at hosts where a person has to be there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import ProjectOption
from jfr_mp.cli.session import load_project
from jfr_mp.errors import ConfigError, HostError, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.hosts.login import Question
    from jfr_mp.hosts.ssh_config import Endpoint

NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[WORKER|HOST]", show_default=False, help="Where to; all that need it if left out."),
]
CloseOption = Annotated[bool, typer.Option("--close", help="End the connection instead, for all that use it.")]


@with_examples(
    {
        "jfr-mp connect": "log in wherever a worker has interactive_login: true",
        "jfr-mp connect cluster": "log in at the host of the worker cluster",
        "jfr-mp connect --close cluster": "end that connection",
    }
)
def connect(name: NameArgument = None, close: CloseOption = False, project: ProjectOption = None) -> None:
    """Log in where a person has to, with a one-time password for example, once for all processes.

    The connection stays open, beyond the end of this command and of `jfr-mp stop`, until it breaks or is closed. While
    there is none, the jobs of the host wait.
    """
    from jfr_mp.hosts.login import close_login

    chosen = load_project(project)
    for endpoint in _logins(chosen, name):
        if close:
            was_open = close_login(endpoint, Path(chosen.base_dir))
            typer.echo(f"{endpoint}: {'closed' if was_open else 'was not open'}.")
        else:
            typer.echo(f"{endpoint}: {'logged in' if _open(endpoint, chosen) else 'is open already'}.")


def connect_all(project: Project) -> None:
    """Log in wherever a person has to, if one is there; without a login, jobs wait."""
    if not project.has_interactive_workers or not sys.stdin.isatty():
        return
    for endpoint in _logins(project, None):
        try:
            _open(endpoint, project)
        except HostError as error:
            warn(f"{error}\nThe jobs of this host wait for `jfr-mp connect`.")


def _logins(project: Project, name: str | None) -> Iterator[Endpoint]:
    """Return where to log in for a worker, or a host, or for all workers: each place once."""
    from jfr_mp.config.workers import SshWorker
    from jfr_mp.hosts.ssh import endpoints

    interactive = {
        worker_name: worker
        for worker_name, worker in project.workers.items()
        if isinstance(worker, SshWorker) and worker.interactive_login
    }
    found = [worker for key, worker in interactive.items() if name in (None, key, worker.host)]
    if not found:
        if name in project.workers:
            raise ConfigError(f"the worker {name!r} needs no login by a person: it has no `interactive_login: true`")
        known = f"; known: {', '.join(interactive)}" if interactive else ""
        what = "no worker" if name is None else f"{name!r} is no worker and no host of one"
        raise ConfigError(f"{what} of project {project.name} with `interactive_login: true`{known}")
    seen = []
    for worker in found:
        for _, endpoint in endpoints(worker):
            if endpoint not in seen:
                seen.append(endpoint)
                yield endpoint


def _open(endpoint: Endpoint, project: Project) -> bool:
    from jfr_mp.hosts.login import open_login

    return open_login(endpoint, Path(project.base_dir), _answer)


def _answer(question: Question) -> list[str]:
    """Put the questions of a host to the person at the terminal."""
    from getpass import getpass

    if not sys.stdin.isatty():
        raise JfrMpError(f"{question.host} asks for something: run `jfr-mp connect` on a terminal")
    for text in (f"{question.host} asks:", question.title, question.instructions):
        if text.strip():
            typer.echo(_printable(text).rstrip(), err=True)
    return [
        input(_printable(prompt)) if visible else getpass(_printable(prompt)) for prompt, visible in question.prompts
    ]


def _printable(text: str) -> str:
    """Take out what a host could command the terminal with."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")
