"""``jfr-mp bus keys``: the keys of the bus between machines."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.bulk import confirm
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption, YesOption
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import Cell, Column, Sheet, clock, time_zone
from jfr_mp.errors import NotFound

app = new_group("Manage the bus between machines.")
keys = new_group("Make, rotate, revoke and list the keys that may send commands over the bus.")
app.add_typer(keys, name="keys")

#: Characters of a key that are shown, and the least that choose it.
_SHOWN, _LEAST = 12, 8


@command(keys)
def make(*, project: ProjectOption) -> None:
    """Make keys for this user on this machine, unless there are some, and make the public one known to the project.

    A master with the option `bus` does it when it starts; to send commands only, make keys by hand.
    """
    from jfr_mp.supervisor.outside import admitted_keys

    with job_controller(project) as controller:
        made = admitted_keys(project, controller.db)
    print_text(f"The public key of this machine is {made.public}.")


@command(keys)
def rotate(*, project: ProjectOption) -> None:
    """Replace the keys of this user on this machine; the earlier public key is revoked.

    A master on this machine uses the new keys when it is restarted.
    """
    from jfr_mp.bus.keys import make_keys, read_keys
    from jfr_mp.database import bus_keys
    from jfr_mp.supervisor.outside import admitted_keys

    with job_controller(project) as controller:
        earlier = read_keys(project)
        make_keys(project)
        made = admitted_keys(project, controller.db)
        if earlier is not None:
            bus_keys.revoke(controller.db, earlier.public)
    print_text(f"The public key of this machine is {made.public}.")


@command(keys)
@with_examples({"jfr-mp bus keys revoke Yne@$w-vo<fV": "by its beginning, as `jfr-mp bus keys list` shows it"})
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The beginning of the public key, 8 characters at least.")],
    *,
    yes: YesOption = False,
    project: ProjectOption,
) -> None:
    """Revoke a key: masters refuse it from their next heartbeat on, on open connections too."""
    from jfr_mp.database import bus_keys

    if len(key) < _LEAST:
        raise typer.BadParameter(f"give at least {_LEAST} characters of the key")
    if not yes:
        confirm(f"revoke the keys that begin with {key}")
    with job_controller(project) as controller:
        number = bus_keys.revoke(controller.db, key)
    if not number:
        raise NotFound(f"no admitted key begins with {key}: see `jfr-mp bus keys list`")
    print_text(f"Revoked {number} key{'s' if number > 1 else ''}.")


@command(keys, "list")
def list_keys(*, as_json: JsonOption = False, project: ProjectOption) -> None:
    """List the public keys that the project knows."""
    from jfr_mp.database import bus_keys

    with job_controller(project) as controller:
        found = bus_keys.listed(controller.db)
    if as_json:
        print_json([key.model_dump(mode="json") for key in found])
        return
    titles = ("Key", "Host", "User", f"Created [{time_zone()}]", "Revoked")
    rows = tuple(
        tuple(map(Cell, (key.key[:_SHOWN], key.host, key.user, clock(key.created_on), clock(key.revoked_on))))
        for key in found
    )
    print_sheet(Sheet(tuple(map(Column, titles)), rows))
