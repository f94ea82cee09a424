"""What an operator can do to the masters of a machine: the commands of `jfr_mp.supervisor.fleet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jfr_mp.errors import InvalidQuery
from jfr_mp.supervisor import fleet

if TYPE_CHECKING:
    from starlette.responses import Response

    from jfr_mp.gui.views import View

#: Seconds to wait for the answer of a master on another machine.
_TIMEOUT = 20.0

#: The commands, with what each does.
MASTER_ACTIONS: dict[str, str] = {
    "pause": "Stop its role processes after the current steps. Jobs that run on workers go on.",
    "drain": "Take no new jobs. Jobs that are under way go on.",
    "resume": "Run all its roles again, after pause or drain.",
    "restart": "Stop it after the current steps, and start it again with the same roles.",
    "stop": "Stop it after the current steps. It has to be started on its machine again.",
}


def preview_master(view: View) -> Response:
    """Show what a command would do to the masters of a machine, and ask."""
    name = _name(view.params.get("action", ""))
    machine, host = view.params.get("machine", ""), view.params.get("host", "")
    return view.page("master.html", name, name=name, meaning=MASTER_ACTIONS[name], machine=machine, host=host)


def act_on_master(view: View) -> Response:
    """Send the command, and show what the masters have answered."""
    name = _name(view.field("action"))
    answers = fleet.command(view.opened.project, name, hosts=[view.field("machine")], timeout=_TIMEOUT)
    rows = [
        (f"{answer.host}, pid {answer.pid}", None, None, None, None if answer.outcome == "done" else answer.text)
        for answer in answers
    ]
    details = [{"host": each.host, "pid": each.pid, "outcome": each.outcome, "text": each.text} for each in answers]
    view.opened.audit.write(view.session.user, view.address, f"master {name}", project=view.name, masters=details)
    failures = sum(answer.outcome != "done" for answer in answers)
    return view.page("done.html", name.capitalize(), label=name.capitalize(), rows=rows, failures=failures)


def _name(text: str) -> str:
    if text not in MASTER_ACTIONS:
        raise InvalidQuery(f"there is no action {text[:40]!r}; there are {', '.join(MASTER_ACTIONS)}")
    return text
