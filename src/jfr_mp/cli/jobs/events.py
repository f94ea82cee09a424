"""``jfr-mp events``: what has happened to jobs, for a user or for a program."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import Options, with_examples
from jfr_mp.cli.filters import complete_job_state, job_state
from jfr_mp.cli.options import ProjectOption
from jfr_mp.cli.printing import print_text
from jfr_mp.cli.project_access import database_errors
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.database.job_events import JobEvent

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"(\d{1,6})([smhd])")
_STYLES = {"FAILED": "red", "REMOTE_ERROR": "red", "COMPLETED": "green"}


def moment(text: str) -> datetime:
    """Read a time: ISO 8601, local without a zone, or an age such as 30m, 12h or 7d.

    Raises
    ------
    typer.BadParameter
        It is neither.
    """
    if age := _AGE.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31T12:00 nor an age such as 12h"
        ) from None


#: Parameters of an `EventFilter`.
Conditions = dict[str, Any]


class Beginning(NamedTuple):
    """Where the events begin; without a time and a token, an hour ago, or now if they are followed."""

    follow: bool
    since: datetime | None
    token: str | None


def beginning(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, and show events as they happen.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="TIME",
            parser=moment,
            help="Begin at this time, or so long ago: 30m, 12h, 7d. By default 1h, and with -f now.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", "-t", metavar="TOKEN", help="Begin behind the event of this token, which --json prints."
        ),
    ] = None,
) -> Beginning:
    """Return where the events begin."""
    if since is None and token is None and not follow:
        since = datetime.now(UTC) - timedelta(hours=1)
    return Beginning(follow, since, token)


def conditions(
    states: Annotated[
        list[JobState] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            parser=job_state,
            autocompletion=complete_job_state,
            help="Only jobs that enter this state.",
        ),
    ] = None,
    db_ids: Annotated[
        list[str] | None, typer.Option("--db-id", "-did", metavar="ID", help="Only jobs with this db_id.")
    ] = None,
    flow_ids: Annotated[
        list[str] | None, typer.Option("--flow-id", "-fid", metavar="UUID", help="Only jobs of the flow of this uuid.")
    ] = None,
    workers: Annotated[
        list[str] | None, typer.Option("--worker", "-wk", metavar="NAME", help="Only jobs of this worker.")
    ] = None,
) -> Conditions:
    """Return the conditions of `jfr_mp.api.events.EventFilter`."""
    return {"states": states, "db_ids": db_ids, "flow_ids": flow_ids, "workers": workers}


BeginningOptions = Annotated[Beginning, Options(beginning)]
ConditionOptions = Annotated[Conditions, Options(conditions)]


@with_examples(
    {
        "jfr-mp events": "what has happened within the last hour",
        "jfr-mp events -f": "what happens from now on, until Ctrl-C",
        "jfr-mp events --since 7d -s FAILED": "the failures of a week",
        "jfr-mp events -f --json --token TOKEN": "go on behind an event, for a program",
    }
)
def events(
    *,
    begin: BeginningOptions,
    wanted: ConditionOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    project: ProjectOption,
) -> None:
    """Show what has happened to jobs, as text or as JSON lines.

    The events come from the log of the database server (its oplog), which misses none. If it does not reach back to the
    time, the documents of the jobs tell when these were created, started, ended and last updated; "source" is "history"
    then. A server that is not part of a replica set keeps no log, so short states may be missing.
    """
    from jfr_mp.api.events import EventFilter, EventReader, read_events
    from jfr_mp.database.connection import QueueDatabase

    with database_errors(project):
        db = QueueDatabase.connect(project)
        try:
            reader = EventReader(db, since=begin.since, token=begin.token)
            for event in read_events(reader, follow=begin.follow, wanted=EventFilter(**wanted)):
                _print(event, as_json=as_json)
        finally:
            db.close()


def _print(event: JobEvent, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event.as_dict(), ensure_ascii=False))
        return
    what = event.state or event.kind
    error = (event.error or "").strip().splitlines()
    parts = [
        f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}",
        f"{event.db_id or '?':>6}",
        f"{what:<15}",
        event.worker or "",
        " ".join((event.name or "").split()),
        error[-1] if error else "",
    ]
    print_text("  ".join(parts).rstrip(), _STYLES.get(what, ""))
