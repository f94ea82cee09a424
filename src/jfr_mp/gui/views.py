"""What a page gets when it is asked for, and how it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import HTMLResponse, RedirectResponse

from jfr_mp.errors import InvalidQuery
from jfr_mp.gui.rendering import query

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.gui.projects import OpenProject, OpenProjects
    from jfr_mp.gui.rendering import Pages
    from jfr_mp.gui.sessions import Session


@dataclass(frozen=True)
class View:
    """A request of a user who is logged in.

    Parameters
    ----------
    request
        The request.
    session
        The user.
    projects
        All projects.
    opened
        The project that the URL names.
    pages
        The templates.
    form
        The fields of the form, for POST.
    """

    request: Request
    session: Session
    projects: OpenProjects
    opened: OpenProject
    pages: Pages
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def db(self) -> QueueDatabase:
        """The queue database."""
        return self.opened.db

    @property
    def params(self) -> QueryParams:
        """The query of the URL."""
        return self.request.query_params

    @property
    def name(self) -> str:
        """The name of the project."""
        return self.opened.project.name

    @property
    def address(self) -> str:
        """The address of the user."""
        return self.request.client.host if self.request.client else ""

    def part(self, name: str) -> str:
        """Return a part of the path of the URL."""
        return str(self.request.path_params[name])

    def url(self, *parts: str, **values: Any) -> str:
        """Return the path of a page of the project."""
        path = "/".join(quote(part, safe="") for part in (self.name, *parts))
        found = query(**values)
        return f"/p/{path}?{found}" if found else f"/p/{path}"

    def field(self, name: str) -> str:
        """Return a field of the form.

        Raises
        ------
        InvalidQuery
            It is missing.
        """
        values = self.form.get(name)
        if not values:
            raise InvalidQuery(f"the form has no field {name}")
        return values[0]

    def page(self, template: str, title: str, *, status: int = 200, live: str | None = None, **values: Any) -> Response:
        """Return a page.

        Parameters
        ----------
        template
            The name of the file.
        title
            The title in the browser.
        live
            The query of the events that change the page; None for a page that does not change.
        values
            What the template needs.
        """
        shared = {
            "view": self,
            "url": self.url,
            "title": title,
            "section": next(iter(self.request.url.path.split("/")[3:]), ""),
            "live": None if live is None else self.url("live") + (f"?{live}" if live else ""),
            "here": self.request.url.path + (f"?{self.request.url.query}" if self.request.url.query else ""),
            "saved": self.params.get("saved"),
        }
        return HTMLResponse(self.pages.render(template, {**shared, **values}), status)

    def go(self, path: str) -> Response:
        """Return a redirection after a form."""
        return RedirectResponse(path, 303)
