"""The web application: which URL is which page, and who may see it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jfr_mp.config import Project
from jfr_mp.database.faults import explain_bad_query, translate
from jfr_mp.errors import DatabaseError, HostError, InvalidQuery, JfrMpError, NotFound
from jfr_mp.gui import actions, lists, master_actions, single
from jfr_mp.gui.audit import Audit
from jfr_mp.gui.hub import MOST_PAGES
from jfr_mp.gui.projects import OpenProjects, gui_dir
from jfr_mp.gui.rendering import Pages
from jfr_mp.gui.security import Gate, RateLimit, SharedLimit, TooMuch
from jfr_mp.gui.sessions import Session, Sessions
from jfr_mp.gui.users import Users
from jfr_mp.gui.views import View

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from jfr_mp.database.job_events import JobEvent

logger = logging.getLogger(__name__)

Page = Callable[[View], Response]

#: The pages below the URL of a project.
PAGES: dict[str, Page] = {
    "/": lists.overview_page,
    "/flows": lists.flows_page,
    "/flows/{flow_id}": single.flow_page,
    "/jobs": lists.jobs_page,
    "/jobs/{db_id}": single.job_page,
    "/jobs/{db_id}/inputs": single.inputs_part,
    "/jobs/{db_id}/output": single.output_part,
    "/jobs/{db_id}/queue": single.queue_part,
    "/jobs/{db_id}/files": single.files_part,
    "/jobs/{db_id}/download": single.download,
    "/batches": lists.batches_page,
    "/workers": lists.workers_page,
    "/log": lists.log_page,
}
#: The actions: the preview for GET, and what is done for POST. They are for operators only.
ACTIONS: dict[str, tuple[Page, Page]] = {
    "/jobs/act": (actions.preview_jobs, actions.act_on_jobs),
    "/flows/act": (actions.preview_flows, actions.act_on_flows),
    "/workers/act": (master_actions.preview_master, master_actions.act_on_master),
}
#: Seconds within which the body of a request has to arrive.
_MOST_BODY_TIME = 20.0
_STATUS: tuple[tuple[type[JfrMpError], int], ...] = (
    (NotFound, 404),
    (InvalidQuery, 400),
    (DatabaseError, 503),
    (HostError, 502),
)


@dataclass
class Gui:
    """The server of a user.

    Parameters
    ----------
    project
        The project that is shown first, and whose users may log in.
    hosts
        The values of the header Host that are served.
    secure
        Whether the browser reaches the server over TLS.
    cookie
        The name of the cookie, different for each port.
    """

    project: Project
    hosts: Collection[str]
    secure: bool = False
    cookie: str = "jfr_mp"
    on_link_used: Callable[[], None] = lambda: None
    _attempts: SharedLimit = field(default_factory=lambda: SharedLimit(RateLimit(5, 1 / 12), RateLimit(30, 1)))

    def __post_init__(self) -> None:
        """Open what all requests share."""
        directory = gui_dir(self.project)
        self.audit = Audit(directory)
        self.projects = OpenProjects(self.project)
        self.sessions = Sessions(directory, Users(directory / "users.json"), cookie=self.cookie, secure=self.secure)
        self.pages = Pages()

    def application(self) -> ASGIApp:
        """Return the application for a server."""
        # The actions come first: `/jobs/act` is no job.
        below = [Route(path, self._endpoint(*pages), methods=["GET", "POST"]) for path, pages in ACTIONS.items()]
        below += [Route("/live", self._live), *(Route(path, self._endpoint(page)) for path, page in PAGES.items())]
        routes = [
            Route("/", self._home),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
            Mount("/p/{project}", routes=below),
        ]
        app = Starlette(routes=routes, exception_handlers={TooMuch: _too_much, TimeoutError: _too_slow})
        return Gate(app, self.hosts, lambda scope: self.sessions.login_of(Request(scope)))

    def warm_up(self) -> None:
        """Do what the first request would have to wait for, beside the start of the server."""
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def close(self) -> None:
        """Close all connections."""
        self.projects.close()

    def _warm_up(self) -> None:
        try:
            opened = self.projects.open(self.project.name)
            opened.hub.start()
            opened.warm_up()
        except Exception as error:  # noqa: BLE001 - the first page shows it
            logger.debug("the database cannot be read: %s", error)
        self.pages.compile()

    # Logging in and out

    async def _home(self, request: Request) -> Response:
        if self.sessions.of(request) is None:
            return RedirectResponse("/login", 303)
        return RedirectResponse(f"/p/{quote(self.project.name)}/", 303)

    async def _login(self, request: Request) -> Response:
        return await run_in_threadpool(self._log_in, request, await _form(request))

    def _log_in(self, request: Request, form: dict[str, list[str]]) -> Response:
        address = request.client.host if request.client else ""
        goal = _local_path((form.get("next") or request.query_params.getlist("next") or ["/"])[0])
        token = request.query_params.get("token")
        if not token and request.method == "GET":
            return self._login_page(None, goal, 200)
        answer = RedirectResponse(goal, 303)
        # A link cannot be guessed, so the attempts of others do not keep its user out.
        if token and self.sessions.use_link(token):
            self.audit.write(self.sessions.log_owner_in(answer), address, "login by link")
            self.on_link_used()
            return answer
        # What is over the limit is not written down: it would push out of the audit log what matters.
        if not self._attempts.allows(address):
            return self._login_page("Too many attempts; wait a minute.", goal, 429)
        if token:
            self.audit.write("", address, "login by link refused")
            return self._login_page("This link is not valid any more. The server prints new ones.", goal, 403)
        name, password = (form.get(key, [""])[0] for key in ("name", "password"))
        if self.sessions.log_in(answer, name, password):
            self.audit.write(name, address, "login")
            return answer
        self.audit.write(name[:64], address, "login refused")
        return self._login_page("The name or the password is wrong.", goal, 403)

    def _login_page(self, error: str | None, goal: str, status: int) -> Response:
        values = {"error": error, "goal": goal, "has_users": bool(self.sessions.users.all())}
        return HTMLResponse(self.pages.render("login.html", values), status)

    async def _logout(self, request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        session = self.sessions.of(request)
        if session and session.allows((await _form(request)).get("csrf", [""])[0]):
            self.sessions.log_out(answer)
        return answer

    # Pages

    def _endpoint(self, page: Page, act: Page | None = None) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            session = self.sessions.of(request)
            if session is None:
                return _stranger(request)
            form = await _form(request) if request.method == "POST" else {}
            return await run_in_threadpool(self._answer, request, session, form, page, act)

        return endpoint

    def _answer(
        self, request: Request, session: Session, form: dict[str, list[str]], page: Page, act: Page | None
    ) -> Response:
        try:
            opened = self.projects.open(request.path_params["project"])
            opened.hub.start()
            view = View(request, session, self.projects, opened, self.pages, form)
            if act is not None and not session.may_act:
                opened.audit.write(session.user, view.address, "refused", path=request.url.path)
                return self._error(request, session, "You may only read; ask the owner of the server to operate.", 403)
            if request.method == "POST" and not session.allows(form.get("csrf", [""])[0]):
                return self._error(request, session, "This form is not of your session; go back and reload it.", 403)
            return act(view) if act is not None and request.method == "POST" else page(view)
        except JfrMpError as error:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 409)
            return self._error(request, session, str(error), status)
        except Exception as error:  # only the database package knows the errors of its driver
            known = translate(error, "the queue") or explain_bad_query(error)
            if known is None:
                logger.exception("%s %s", request.method, request.url.path)
                return self._error(request, session, "An unexpected error; the log of the server has it.", 500)
            return self._error(request, session, str(known), 503)

    def _error(self, request: Request, session: Session, message: str, status: int) -> Response:
        values = {"message": message, "status": status, "session": session, "project": self.project.name}
        return HTMLResponse(self.pages.render("error.html", values), status)

    async def _live(self, request: Request) -> Response:
        if self.sessions.of(request) is None:
            return PlainTextResponse("log in first", 401)
        try:
            opened = await run_in_threadpool(self.projects.open, request.path_params["project"])
        except JfrMpError as error:
            return PlainTextResponse(str(error), 503)
        opened.hub.start()
        if opened.hub.pages >= MOST_PAGES:
            return PlainTextResponse("too many open pages", 503, {"Retry-After": "30"})
        wanted = _wanted(request.query_params.get("job"), request.query_params.get("flow"))
        return StreamingResponse(opened.hub.messages(wanted), media_type="text/event-stream")


def _wanted(job: str | None, flow: str | None) -> Callable[[JobEvent], bool]:
    if job:
        return lambda event: event.db_id == job
    if flow:
        return lambda event: event.flow_id == flow
    return lambda _event: True


def _stranger(request: Request) -> Response:
    if request.method != "GET" or "hx-request" in request.headers:
        return PlainTextResponse("log in first", 401)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)


def _local_path(text: str) -> str:
    """Return a path of this server; the start page for anything else, such as another server."""
    return text if text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() else "/"


async def _form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form; there are no uploads."""
    if request.method != "POST":
        return {}
    body = await asyncio.wait_for(request.body(), _MOST_BODY_TIME)
    return parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=5_000)


async def _too_slow(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("The body of the request has not arrived in time.", 408)


async def _too_much(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("The body of the request is too large.", 413)
