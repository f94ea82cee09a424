"""Which columns a list of jobs shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.options import VerbosityOption
from jfr_mp.cli.tables import JOB_COLUMNS, Sheet, job_sheet
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jfr_mp.model import JobInfo


class Columns(NamedTuple):
    """The columns of a list of jobs.

    Parameters
    ----------
    names
        Columns of `JOB_COLUMNS`; None to leave the choice to the verbosity and the settings.
    stored_data
        Keys of the stored data of the jobs, each a further column.
    color
        Whether the names of the jobs of one flow have the same colour.
    verbosity
        The higher, the more columns.
    """

    names: Sequence[str] | None
    stored_data: Sequence[str]
    color: bool
    verbosity: int

    def sheet(self, jobs: Iterable[JobInfo]) -> Sheet:
        """Return a table of jobs with these columns."""
        return job_sheet(jobs, self.verbosity, self.names, self.stored_data, color=self.color)


def columns(
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="NAMES", help=f"The columns: some of {', '.join(JOB_COLUMNS)}."),
    ] = None,
    stored_data_keys: Annotated[
        list[str] | None,
        typer.Option("--stored-data-key", "-sdk", metavar="KEY", help="A further column: this key of stored_data."),
    ] = None,
    color: Annotated[
        bool, typer.Option("--color", "-col", help="Give the names of the jobs of one flow the same colour.")
    ] = False,
    verbosity: VerbosityOption = 0,
) -> Columns:
    """Return the columns that the options name.

    Raises
    ------
    typer.BadParameter
        A column does not exist.
    """
    names = [name.strip() for name in output.split(",")] if output else None
    if unknown := [name for name in names or () if name not in JOB_COLUMNS]:
        raise typer.BadParameter(f"no column {', '.join(unknown)}; choose from {', '.join(JOB_COLUMNS)}")
    return Columns(names, stored_data_keys or (), color, verbosity)


ColumnsOptions = Annotated[Columns, Options(columns)]


def columns_of_settings() -> Sequence[str] | None:
    """Return the columns that the user's settings name, or None.

    Raises
    ------
    ConfigError
        A column does not exist.
    """
    from jfr_mp.config import get_settings

    names = get_settings().cli_job_list_columns
    if unknown := [name for name in names or () if name not in JOB_COLUMNS]:
        raise ConfigError(
            f"cli_job_list_columns in the settings names columns that do not exist: {', '.join(unknown)}; choose from "
            f"{', '.join(JOB_COLUMNS)}"
        )
    return names
