"""``jfr-mp connect``: logging in at hosts that want the user for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import ProjectOption
from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from jfr_mp.config import Project

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[WORKER|HOST]", show_default=False, help="Where to log in; by default at all hosts that need it."
    ),
]
CloseOption = Annotated[bool, typer.Option("--close", help="Close the connection instead, for all processes.")]


@with_examples(
    {
        "jfr-mp connect": "log in at the hosts of all workers with interactive_login: true",
        "jfr-mp connect cluster": "log in at the host of the worker cluster",
        "jfr-mp connect --close cluster": "close that connection",
    }
)
def connect(name: NameArgument = None, close: CloseOption = False, *, project: ProjectOption) -> None:
    """Log in at hosts that want the user for it, with a one-time password for example, once for all processes.

    The connection stays open after this command and after `jfr-mp stop`, until it breaks or is closed. The jobs of a
    host without its connection wait.
    """
    from jfr_mp.hosts.login.logins import close_login
    from jfr_mp.hosts.login.terminal import log_in, logins

    for endpoint in logins(project, name):
        if close:
            was_open = close_login(endpoint, Path(project.base_dir))
            typer.echo(f"{endpoint}: {'closed' if was_open else 'was not open'}.")
        else:
            typer.echo(f"{endpoint}: {'logged in' if log_in(endpoint, project) else 'is open already'}.")


ConnectOption = Annotated[
    bool,
    typer.Option(
        "--connect-interactive",
        "-i",
        help="Fail if a login at a host is needed and fails; on a terminal, logins are tried without it, too.",
    ),
]


def connect_all(project: Project, *, needed: bool = False) -> None:
    """Log in at all hosts that want the user for it, if there is a terminal; without a login their jobs wait.

    Parameters
    ----------
    project
        The project of the workers.
    needed
        Whether a login that fails is an error.

    Raises
    ------
    HostError
        A login failed that is needed.
    """
    if not project.has_interactive_workers or not (needed or sys.stdin.isatty()):
        return
    from jfr_mp.hosts.login.terminal import log_in, logins

    for endpoint in logins(project, None):
        try:
            log_in(endpoint, project)
        except HostError as error:
            if needed:
                raise
            warn(f"{error}\nThe jobs of this host wait for `jfr-mp connect`.")
