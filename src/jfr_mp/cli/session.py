"""What a command needs before it can work: the project and the queue database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jfr_mp.errors import DatabaseUnavailable, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.config import Project


def load_project(name: str | None) -> Project:
    """Return the project of that name, or the only one there is.

    Raises
    ------
    ConfigError
        There is none, or several and none was chosen, or its file is wrong.
    """
    from jfr_mp.config import ConfigManager

    return ConfigManager().get_project(name)


@contextmanager
def job_controller(project: Project) -> Iterator[JobController]:
    """Lend the interface to the jobs of a project.

    Raises
    ------
    DatabaseError
        The database does not answer, or refuses, before or during the use.
    """
    from jfr_mp.api.controller import JobController
    from jfr_mp.database.connection import PERSON_TIMEOUT, QueueDatabase

    with database_errors(project):
        controller = JobController(QueueDatabase.connect(project, timeout=PERSON_TIMEOUT))
        try:
            yield controller
        finally:
            controller.close()


@contextmanager
def database_errors(project: Project) -> Iterator[None]:
    """Turn what goes wrong with the queue database into an error of ours that says what to do."""
    from jfr_mp.database.faults import translate

    try:
        yield
    except DatabaseUnavailable as error:
        raise _with_cure(error, project) from error
    except JfrMpError:
        raise
    except Exception as error:  # what the driver raises is for `translate` to know; the rest goes on
        known = translate(error, queue_address(project))
        if known is None:
            raise
        raise _with_cure(known, project) from error


def queue_address(project: Project) -> str:
    """Return where the queue database of a project is, fit for a message: never with a password."""
    from jfr_mp.database.address import address_of, is_native

    store = project.queue.store
    return address_of(store).hosts if is_native(store) else "the address in queue.store"


def _with_cure(error: JfrMpError, project: Project) -> JfrMpError:
    """Name the command that starts the database, where it is one of ours."""
    if isinstance(error, DatabaseUnavailable) and project.jfr_mp.embedded_db is not None:
        return DatabaseUnavailable(
            f"{error}\nThe database of this project is a managed one: start it with `jfr-mp db start`."
        )
    return error
