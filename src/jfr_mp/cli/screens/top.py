"""``jfr-mp top``: what runs, what waits and what has failed, live in a terminal."""

from __future__ import annotations

from jfr_mp.cli.commands import with_list
from jfr_mp.cli.options import ProjectOption
from jfr_mp.cli.project_access import job_controller
from jfr_mp.errors import ConfigError


@with_list(
    "Keys",
    {
        "up, down": "choose a job",
        "e, Enter": "explain it",
        "o": "show the end of its queue.out and queue.err, and follow them",
        "f": "change the filter: all jobs, failed, on their way, waiting",
        "r, t, p, u, s": "rerun, retry, pause, resume or stop it; asks first",
        "q": "quit",
    },
)
def top(*, project: ProjectOption) -> None:
    """Show the jobs live in this terminal, and act on them."""
    try:
        from jfr_mp.cli.screens.top_screen import Top
    except ModuleNotFoundError as error:
        raise ConfigError(f"this command needs {error.name}: pip install 'jfr-mp[top]'") from error

    with job_controller(project) as controller:
        Top(controller).run()
