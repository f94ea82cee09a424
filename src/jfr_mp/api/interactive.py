"""Logging in at the hosts with an interactive login, in the terminal of this process."""

from __future__ import annotations

from jfr_mp.config import Project
from jfr_mp.hosts.login.terminal import log_in, logins


def log_in_everywhere(project: Project) -> None:
    """Log in at all hosts of a project with an interactive login, asking the user; nothing if there are none."""
    if project.has_interactive_workers:
        for endpoint in logins(project):
            log_in(endpoint, project)
