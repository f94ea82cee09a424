"""What the shell offers when the user presses Tab. If something cannot be found out quickly, nothing is offered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.step_table import ROLES

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: What is offered for a word: texts, or texts with what they mean.
Offer = Sequence[str | tuple[str, str]]
_Context = Any

#: How many of the last jobs are offered.
_LAST = 50


def complete_project(incomplete: str) -> Offer:
    """Return the names of projects that begin with a text."""
    from jfr_mp.config import ConfigManager

    return _quietly(lambda: _beginning(sorted(ConfigManager().projects_data), incomplete))


def complete_worker(ctx: _Context, incomplete: str) -> Offer:
    """Return the workers of the chosen project that begin with a text."""
    return _quietly(lambda: _beginning(_project(ctx).workers, incomplete))


def complete_exec_config(ctx: _Context, incomplete: str) -> Offer:
    """Return the execution configs of the chosen project that begin with a text."""
    return _quietly(lambda: _beginning(_project(ctx).exec_config, incomplete))


def complete_job(ctx: _Context, incomplete: str) -> Offer:
    """Return the db_ids of the last jobs that begin with a text, with their names and states."""

    def find() -> Offer:
        from jfr_mp.cli.project_access import job_controller
        from jfr_mp.database import queries
        from jfr_mp.database.filters import JobFilter

        with job_controller(_project(ctx)) as controller:
            jobs = queries.jobs_info(controller.db, JobFilter(), limit=_LAST, sort=[("updated_on", -1)])
        return [(job.db_id, f"{job.name} {job.state.name}") for job in jobs if job.db_id.startswith(incomplete)]

    return _quietly(find)


def complete_role(incomplete: str) -> Offer:
    """Return the roles, and the master, that begin with a text."""
    return _beginning(["master", *ROLES], incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _project(ctx: _Context) -> Project:
    from jfr_mp.config import ConfigManager

    return ConfigManager().get_project(ctx.params.get("project") or ctx.obj or ctx.find_root().params.get("project"))


def _quietly(find: Callable[[], Offer]) -> Offer:
    try:
        return find()
    except Exception:  # noqa: BLE001 - a message in the middle of the line that the user types would spoil it
        return []
