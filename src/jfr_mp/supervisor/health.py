"""The health of the masters on this machine, for the probes of a container or a monitoring system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from pydantic import BaseModel

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.errors import DatabaseError
from jfr_mp.supervisor.control import masters_here
from jfr_mp.supervisor.lifecycle import State

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: Seconds that the database has for an answer.
_DATABASE_WITHIN = 3.0


class Health(BaseModel):
    """The health of the masters on this machine.

    Parameters
    ----------
    live
        Whether there is a master, and the main loop of each one answers.
    ready
        Whether, in addition, all their role processes are running and the database answers.
    problems
        What is wrong, one line each.
    """

    live: bool
    ready: bool
    problems: list[str]


def health(project: Project, *, live_only: bool = False, ask_database: bool = True) -> Health:
    """Return the health of the masters of a project on this machine.

    Parameters
    ----------
    live_only
        Whether to ask the masters alone, and neither for their role processes nor the database.
    ask_database
        Whether the database has to answer for readiness.
    """
    found = masters_here(project)
    dead = [f"the master (pid {master.pid}) does not answer" for master in found if master.state == "UNRESPONSIVE"]
    if not found:
        dead = [f"no master of project {project.name} is running on this machine"]
    missing = [] if dead or live_only else [*_not_ready(found), *(_of_database(project) if ask_database else ())]
    return Health(live=not dead, ready=not dead and not missing, problems=[*dead, *missing])


def _not_ready(found: list[MasterStatus]) -> Iterator[str]:
    for master in found:
        # A reload replaces processes that are ready by others.
        if master.state not in ("RUNNING", "DRAINING", "RELOADING"):
            yield f"the master (pid {master.pid}) is {master.state}"
        for role in master.roles:
            expected = role.state == State.RUNNING or master.state in ("DRAINING", "RELOADING")
            if role.state == State.FATAL or not expected:
                yield f"{role.name} is {role.state}: {role.last_error or 'no error yet'}"


def _of_database(project: Project) -> Iterator[str]:
    try:
        with closing(QueueDatabase.connect(project, timeout=_DATABASE_WITHIN)):
            return
    except DatabaseError as error:
        yield str(error)
