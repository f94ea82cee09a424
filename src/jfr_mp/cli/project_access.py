"""What a command needs before it can work: the project and the queue database."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import typer

from jfr_mp.cli.printing import styled
from jfr_mp.errors import ConfigError, DatabaseUnavailable, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)


def load_project(name: str | None) -> Project:
    """Return the project of that name, or for None the one of the settings or the only one.

    If there are several, it is named on the terminal.

    Raises
    ------
    ConfigError
        There is no such project, or there are several and none was chosen, or its file is wrong.
    """
    from jfr_mp.config import ConfigManager

    manager = ConfigManager()
    data = manager.get_project_data(name)
    logger.debug("project %s of %s", data.project.name, data.filepath)
    if len(manager.projects_data) + len(manager.broken) > 1 and sys.stderr.isatty():
        typer.echo(styled(f"Project {data.project.name} ({data.filepath})", "dim", sys.stderr), err=True)
    return data.project


def load_or_salvage(name: str | None) -> tuple[Project, ConfigError | None]:
    """Return a project; if its file is broken, what is needed to find its running processes, and the error.

    Raises
    ------
    ConfigError
        There is no such project.
    """
    from jfr_mp.config.salvage import salvage

    try:
        return load_project(name), None
    except ConfigError as error:
        found = salvage(name)
        if found is None:
            raise
        return found, error


def load_projects() -> list[Project]:
    """Return all projects of the projects folder.

    Raises
    ------
    ConfigError
        There is no project, or one of them is wrong.
    """
    from jfr_mp.config import ConfigManager

    manager = ConfigManager()
    for error in manager.broken.values():
        raise error
    if not manager.projects:
        manager.select_project_name()
    return list(manager.projects.values())


@contextmanager
def queue_database(project: Project) -> Iterator[QueueDatabase]:
    """Yield the queue database of a project.

    Raises
    ------
    DatabaseError
        The database does not answer or refuses the connection, before or during the use.
    """
    from jfr_mp.database.connection import PERSON_TIMEOUT, QueueDatabase

    with database_errors(project), closing(QueueDatabase.connect(project, timeout=PERSON_TIMEOUT)) as db:
        logger.debug("connected to the database at %s", db.address)
        yield db


@contextmanager
def job_controller(project: Project) -> Iterator[JobController]:
    """Yield the interface to the jobs of a project; errors are those of `queue_database`."""
    from jfr_mp.api.controller import JobController

    with queue_database(project) as db, closing(JobController(db)) as controller:
        yield controller


@contextmanager
def database_errors(project: Project) -> Iterator[None]:
    """Turn an error of the database driver into one of `jfr_mp.errors` that says what to do."""
    from jfr_mp.database.faults import explain_bad_query, explain_damaged, translate

    try:
        yield
    except DatabaseUnavailable as error:
        raise _with_cure(error, project) from error
    except JfrMpError:
        raise
    except Exception as error:  # only the database package knows the errors of its driver; all others are raised again
        known = translate(error, queue_address(project)) or explain_bad_query(error) or explain_damaged(error)
        if known is None:
            raise
        raise _with_cure(known, project) from error


def queue_address(project: Project) -> str:
    """Return the address of the queue database of a project for a message: without a password."""
    from jfr_mp.database.address import address_of, is_native

    store = project.queue.store
    return address_of(store).hosts if is_native(store) else "the address in queue.store"


def _with_cure(error: JfrMpError, project: Project) -> JfrMpError:
    """Name the command that starts the database, if jfr-mp manages it."""
    if isinstance(error, DatabaseUnavailable) and project.jfr_mp.embedded_db is not None:
        return DatabaseUnavailable(
            f"{error}\nThe database of this project is managed by jfr-mp: start it with `jfr-mp db start`."
        )
    return error
