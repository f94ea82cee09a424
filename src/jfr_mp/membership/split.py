"""Splits of the roles that cannot work: jobs of a local worker run where they are uploaded and submitted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jfr_mp.database.deployment import Deployment
from jfr_mp.errors import SplitRefused
from jfr_mp.places import Places
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from collections.abc import Collection

    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)

#: Either of these roles needs the other where it sees the same run directories.
_PARTNERS = {Role.TRANSFER: Role.QUEUE, Role.QUEUE: Role.TRANSFER}


def check_split(db: QueueDatabase, roles: Collection[str]) -> None:
    """Make sure that this machine can do its part for the local workers of the project.

    Raises
    ------
    SplitRefused
        The project has no other workers, and their jobs could not move on.
    """
    alone = [role for role, partner in _PARTNERS.items() if role in roles and partner not in roles]
    places = Places(db.project)
    if not alone or not places.of_workers():
        return
    (role,), deployment = alone, Deployment(db)
    partner = _PARTNERS[role]
    apart = [name for name, place in places.of_workers().items() if not deployment.sees(partner, place)]
    if not apart or not deployment.runs(partner):
        return
    why = (
        f"the role {role} cannot serve the local workers {', '.join(apart)} on this machine: the role {partner} runs "
        "on another machine, which does not see their work_dir. Start --transfer and --queue on one machine, or put "
        "the work_dir on a file system that both see"
    )
    if len(apart) == len(db.project.workers):
        raise SplitRefused(why)
    logger.warning("%s", why)
