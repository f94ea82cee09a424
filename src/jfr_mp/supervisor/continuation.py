"""What a master keeps beyond its program: how many processes of each role, which roles are held, and its log level.

A restart hands it to the next program by an environment variable. A master that was killed leaves in the file of its
directory which roles were held, for the service manager that starts its successor.
"""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, ValidationError

from jfr_mp.config import LogLevel
from jfr_mp.step_table import Role

_VARIABLE = "JFR_MP_CONTINUATION"


class Continuation(BaseModel):
    """What a master is to begin with.

    Parameters
    ----------
    roles
        How many processes of each role.
    held
        The roles whose processes are not to run until `jfr-mp resume`.
    log_level
        From which level on all processes log.
    """

    roles: dict[Role, int]
    held: frozenset[Role] = frozenset()
    log_level: LogLevel = LogLevel.INFO

    @classmethod
    def taken_over(cls) -> Self | None:
        """Return what the previous program of this process has handed over; None if there was none."""
        text = os.environ.pop(_VARIABLE, None)
        try:
            return None if text is None else cls.model_validate_json(text)
        except ValidationError:  # an earlier version, before an upgrade, or one that is older still
            return None

    def hand_over(self) -> None:
        """Hand it to the program that replaces this one."""
        os.environ[_VARIABLE] = self.model_dump_json()
