"""``jfr-mp gui``: the web page, and its users."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import command, new_group, with_examples, with_options
from jfr_mp.cli.options import JsonOption, ProjectOption, whole_number
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.project_access import load_project
from jfr_mp.cli.tables import Cell, Column, Sheet

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.gui.users import Users

_MOST_PORTS = 65_535
_ROLES = ("read", "operate")

app = new_group("Show the project in a web browser.")
app.info.no_args_is_help = False
app.info.invoke_without_command = True
users = new_group("Manage the users that log in to the web page with a password.")
app.add_typer(users, name="users")


def _role(text: str) -> str:
    if text not in _ROLES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_ROLES)}")
    return text


@app.callback()
@with_options
@with_examples(
    {
        "jfr-mp gui": "serve the page on this machine, and print a link that logs in",
        "jfr-mp gui --port 0": "on any free port",
        "jfr-mp gui users add anna --role read": "let another user see it, with a password",
    }
)
def gui(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="N", parser=whole_number(0, _MOST_PORTS), help="The port; 0 for any.")
    ] = 5001,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", exists=True, dir_okay=False, help="A TLS certificate.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", exists=True, dir_okay=False, help="Its private key.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME[:PORT]", help="Serve this host name as well, such as that of a proxy."
        ),
    ] = None,
) -> None:
    """Show the project in a web browser: what runs, what waits, what has failed, and act on it.

    The link that is printed logs in once, as a user who may do everything. The page is for this machine only; from
    another one, use `ssh -L 5001:localhost:5001 HOST`. Stop the server with Ctrl-C.
    """
    if context.invoked_subcommand is not None:
        return
    from jfr_mp.gui.server import Listen, serve

    if (certificate is None) != (key is None):
        raise typer.BadParameter("give both --tls-cert and --tls-key")
    project = load_project(context.obj)
    serve(project, Listen(host, port, certificate, key, names or ()), print_text)


@command(users, "add")
@with_examples({"jfr-mp gui users add anna --role operate": "asks for the password"})
def add_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name to log in with.")],
    *,
    role: Annotated[
        str, typer.Option("--role", "-r", metavar="ROLE", parser=_role, help="read, or operate to act on jobs as well.")
    ] = "read",
    project: ProjectOption,
) -> None:
    """Add a user, or give one another role and password.

    The password is asked for on a terminal; otherwise it is the first line of the standard input.
    """
    from jfr_mp.gui.users import GuiRole

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    _users(project).add(name, GuiRole(role), password)
    print_text(f"{name} may {role}.")


@command(users, "remove")
def remove_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user.")], *, project: ProjectOption
) -> None:
    """Remove a user, who is logged out at once."""
    _users(project).remove(name)
    print_text(f"{name} cannot log in any more.")


@command(users, "list")
def list_users(*, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the users with their roles."""
    found = _users(project).all().values()
    if as_json:
        print_json([{"name": user.name, "role": user.role} for user in found])
        return
    rows = tuple((Cell(user.name), Cell(user.role)) for user in found)
    print_sheet(Sheet((Column("Name"), Column("Role")), rows))


def _users(project: Project) -> Users:
    from jfr_mp.gui.projects import gui_dir
    from jfr_mp.gui.users import Users

    return Users(gui_dir(project) / "users.json")
