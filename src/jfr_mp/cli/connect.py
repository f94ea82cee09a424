"""``jfr-mp connect``: the login at hosts where a person has to be there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import ProjectOption
from jfr_mp.cli.session import load_project
from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from jfr_mp.config import Project

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
    from jfr_mp.hosts.login.logins import close_login
    from jfr_mp.hosts.login.terminal import log_in, logins

    chosen = load_project(project)
    for endpoint in logins(chosen, name):
        if close:
            was_open = close_login(endpoint, Path(chosen.base_dir))
            typer.echo(f"{endpoint}: {'closed' if was_open else 'was not open'}.")
        else:
            typer.echo(f"{endpoint}: {'logged in' if log_in(endpoint, chosen) else 'is open already'}.")


def connect_all(project: Project) -> None:
    """Log in wherever a person has to, if one is there; without a login, jobs wait."""
    if not project.has_interactive_workers or not sys.stdin.isatty():
        return
    from jfr_mp.hosts.login.terminal import log_in, logins

    for endpoint in logins(project, None):
        try:
            log_in(endpoint, project)
        except HostError as error:
            warn(f"{error}\nThe jobs of this host wait for `jfr-mp connect`.")
