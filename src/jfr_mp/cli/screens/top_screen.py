"""The screen of `jfr-mp top`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import message, work
from textual.app import App, ComposeResult, ScreenStackError
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from jfr_mp.api.events import EventReader
from jfr_mp.cli.bulk import Act, Manner
from jfr_mp.cli.job_choice import run_dir_of
from jfr_mp.cli.jobs.job_actions import ACTIONS
from jfr_mp.cli.jobs.job_files import queue_texts
from jfr_mp.cli.tables import counts_text, job_sheet, outage_text
from jfr_mp.database import overview, processes
from jfr_mp.database.filters import JobFilter
from jfr_mp.diagnosis import explain_job
from jfr_mp.errors import JfrMpError
from jfr_mp.logs import clean
from jfr_mp.states import RUNNING_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

#: Jobs that are listed.
_ROWS = 200
#: Seconds between two looks for changes, and after which everything is read again without any.
_TICK, _ANYWAY = 0.5, 10.0
#: The columns that fit on 80 characters, by their names in `JOB_COLUMNS`.
COLUMNS = ("db_id", "name", "state", "worker", "run_time", "last_updated")
#: Seconds between two looks at a file that is followed.
_GLANCE = 2.0
#: Lines of a file that are shown.
_LINES = 200
_WAIT = 10

#: What the key f goes through.
VIEWS: dict[str, Sequence[JobState] | None] = {
    "all": None,
    "failed": (JobState.FAILED, JobState.REMOTE_ERROR),
    "on their way": RUNNING_STATES,
    "waiting": (JobState.READY, JobState.WAITING, JobState.PAUSED),
}
_KEYS = {"retry": "t", "pause": "p", "resume": "u", "stop": "s"}
#: The actions by their key.
_ACTS: dict[str, tuple[str, Act]] = {
    "r": ("rerun", lambda controller, db_id, _how: controller.rerun_job(db_id=db_id, wait=_WAIT)),
    **{_KEYS[row.names[0]]: (row.names[0], row.act) for row in ACTIONS if row.names[0] in _KEYS},
}


class InApp(message.Message):
    """Something that a thread wants the app to do.

    Parameters
    ----------
    act
        Does it.
    """

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act


class Message(ModalScreen[bool]):
    """A text above the list; with a question, y and n answer it.

    Parameters
    ----------
    text
        The text.
    asks
        Whether it is a question.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close"),
        Binding("y", "agree", "Yes"),
        Binding("n", "close", "No", show=False),
    ]
    CSS = "Message { align: center middle; } VerticalScroll { width: 90%; height: 80%; border: round $primary; }"

    def __init__(self, text: str, *, asks: bool = False) -> None:
        super().__init__()
        self._text = text
        self._asks = asks
        self.closed = threading.Event()

    def compose(self) -> ComposeResult:
        """Return the parts of the screen."""
        with VerticalScroll():
            yield Static(Text(self._text))
        yield Footer(compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key has a meaning: only a question can be answered with yes."""
        return self._asks or action != "agree"

    def on_unmount(self) -> None:
        """Let the thread know that follows the text."""
        self.closed.set()

    def update(self, text: str) -> None:
        """Show another text, and go to its end if the end of the last one is seen."""
        scroll = self.query_one(VerticalScroll)
        at_end = scroll.is_vertical_scroll_end
        self.query_one(Static).update(Text(text))
        if at_end:
            scroll.scroll_end(animate=False)

    def action_agree(self) -> None:
        """Answer with yes."""
        self.dismiss(self._asks)

    def action_close(self) -> None:
        """Answer with no, or close the text."""
        self.dismiss(False)


class Top(App[None]):
    """The jobs of a project, live.

    Parameters
    ----------
    controller
        The jobs.
    """

    CSS = "#counts, #trouble { padding: 0 1; } #trouble { color: $error; } DataTable { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("f", "next_view", "Filter"),
        Binding("e", "explain", "Explain"),
        Binding("o", "output", "Output"),
        *(Binding(key, f"act('{key}')", name.capitalize()) for key, (name, _) in _ACTS.items()),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, controller: JobController) -> None:
        super().__init__()
        self._controller = controller
        self._news = threading.Event()
        self._news.set()
        self._stopped = False
        self.view = "all"

    def compose(self) -> ComposeResult:
        """Return the parts of the screen."""
        yield Static(id="counts")
        yield Static(id="trouble")
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to follow the events."""
        self._follow()
        self._keep_up()

    def on_unmount(self) -> None:
        """Stop the threads."""
        self._stopped = True
        self._news.set()

    @work(thread=True)
    def _follow(self) -> None:
        reader = EventReader(self._controller.db)
        while not self._stopped:
            try:
                if reader.next() is not None:
                    self._news.set()
            except Exception:  # noqa: BLE001 - a database that is down is shown by `_keep_up`, and asked again
                time.sleep(_TICK)
        reader.close()

    @work(thread=True)
    def _keep_up(self) -> None:
        while not self._stopped:
            self._news.wait(_ANYWAY)
            self._news.clear()
            try:
                found = self._read()
            except Exception as error:  # noqa: BLE001 - a database that is down is shown, and asked again
                self._show_later(None, f"the database does not answer: {error}", [])
            else:
                self._show_later(*found)
            time.sleep(_TICK)

    def _read(self) -> tuple[str, str, list[JobInfo]]:
        db = self._controller.db
        counts: Counter[JobState] = Counter()
        for by_state in overview.counts_by_worker(db).values():
            counts.update(by_state)
        members = processes.living(db, db.project.jfr_mp.lease_ttl)
        trouble = [outage_text(outage) for record in members for outage in record.outages]
        if not members:
            trouble.append("No master is running. Start one with `jfr-mp start`.")
        jobs, _ = overview.page_of_jobs(db, JobFilter(states=VIEWS[self.view]), after=None, limit=_ROWS)
        numbers = counts_text({state.name: counts[state] for state in JobState if counts[state]}) or "no jobs"
        return f"{db.project.name}: {numbers}   [{self.view}]", "\n".join(trouble), jobs

    def _show_later(self, counts: str | None, trouble: str, jobs: list[JobInfo]) -> None:
        self._in_app(lambda: self._show(counts, trouble, jobs))

    def _in_app(self, act: Callable[[], object]) -> None:
        """Let the app do something; unlike `call_from_thread`, this does not wait, not even for an app that quits."""
        if not self._stopped:
            self.post_message(InApp(act))

    def on_in_app(self, wanted: InApp) -> None:
        """Do what a thread wants, unless what it would change was closed, or the app quits."""
        with suppress(NoMatches, ScreenStackError):
            wanted.act()

    def _show(self, counts: str | None, trouble: str, jobs: list[JobInfo]) -> None:
        self.query_one("#trouble", Static).update(Text(clean(trouble)))
        if counts is None:
            return
        self.query_one("#counts", Static).update(Text(clean(counts)))
        table: DataTable[Any] = self.query_one(DataTable)
        chosen = self.chosen
        sheet = job_sheet(jobs, names=COLUMNS)
        table.clear(columns=True)
        table.add_columns(*(column.title for column in sheet.columns))
        for job, row in zip(jobs, sheet.rows, strict=True):
            table.add_row(*(Text(clean(cell.text), style=cell.style) for cell in row), key=job.db_id)
        if chosen in table.rows:
            table.move_cursor(row=table.get_row_index(chosen))

    @property
    def chosen(self) -> Any:
        """The db_id of the job under the cursor, or None."""
        table: DataTable[Any] = self.query_one(DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def action_next_view(self) -> None:
        """Show other jobs."""
        names = list(VIEWS)
        self.view = names[(names.index(self.view) + 1) % len(names)]
        self._news.set()

    def on_data_table_row_selected(self) -> None:
        """Explain the job on Enter."""
        self.action_explain()

    def action_explain(self) -> None:
        """Explain why the job is in its state."""
        self._tell(self._explanation)

    def action_output(self) -> None:
        """Show what the job has printed, and go on while it prints."""
        self._tell(self._output, follow=True)

    def action_act(self, key: str) -> None:
        """Ask, and act on the job."""
        db_id = self.chosen
        if db_id is None:
            return
        name, act = _ACTS[key]

        def done(agreed: bool | None) -> None:
            if agreed:
                self._tell(lambda _db_id: self._result(name, act, db_id))

        self.push_screen(Message(f"{name.capitalize()} job {db_id}?  y / n", asks=True), done)

    @work(thread=True)
    def _tell(self, read: Callable[[str], str], *, follow: bool = False) -> None:
        """Read a text in a thread, and show it; read it again while it is shown, if it may grow."""
        db_id = self.chosen
        if db_id is None:
            return
        try:
            text = read(db_id)
        except (JfrMpError, ValueError) as error:
            text = str(error)
        if not text:
            return
        shown = Message(clean(text))
        self._in_app(lambda: self.push_screen(shown))
        while follow and not shown.closed.wait(_GLANCE) and not self._stopped:
            with suppress(JfrMpError, ValueError):
                text = clean(read(db_id))
                self._in_app(partial(shown.update, text))

    def _explanation(self, db_id: str) -> str:
        found = explain_job(self._controller.db, db_id=db_id)
        heading = f"Job {db_id} ({found.job.name}) on worker {found.job.worker} is {found.job.state.name}."
        return "\n".join([heading, "", *(f"- {reason.why}\n  -> {reason.cure}" for reason in found.reasons)])

    def _output(self, db_id: str) -> str:
        job = self._controller.one_job(None, db_id)
        texts = queue_texts(self._controller.services, job, run_dir_of(job))
        parts = []
        for name, text in texts.items():
            lines = (text or "").splitlines()[-_LINES:] or ["(empty)" if text is not None else "(does not exist)"]
            parts += [f"== {name}", *lines, ""]
        return "\n".join(parts)

    def _result(self, name: str, act: Act, db_id: str) -> str:
        act(self._controller, db_id, Manner(wait=_WAIT))
        self._news.set()
        self._in_app(lambda: self.notify(f"{name} {db_id}: done"))
        return ""
