"""The templates, and how times, sizes and texts look in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from jfr_mp.logs import clean
from jfr_mp.states import BatchState, FlowState, JobState

#: Bytes of inputs and outputs that a page shows.
MOST_SHOWN = 64 * 2**10

#: The group of each state, which gives its colour.
_TONES: dict[str, str] = {
    **dict.fromkeys(("WAITING", "READY"), "idle"),
    **dict.fromkeys(("CHECKED_OUT", "UPLOADED", "SUBMITTED", "BATCH_SUBMITTED", "STARTING", "BACKOFF"), "queued"),
    **dict.fromkeys(("RUNNING", "BATCH_RUNNING"), "running"),
    **dict.fromkeys(("RUN_FINISHED", "DOWNLOADED"), "queued"),
    **dict.fromkeys(("COMPLETED", "FINISHED"), "done"),
    **dict.fromkeys(("FAILED", "REMOTE_ERROR", "FATAL", "UNRESPONSIVE"), "failed"),
    **dict.fromkeys(("PAUSED", "STOPPED", "USER_STOPPED", "STOPPING", "EXITED", "HELD"), "held"),
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def tone(state: Any) -> str:
    """Return the group of a state: idle, queued, running, done, failed or held."""
    return _TONES.get(state.value if isinstance(state, Enum) else str(state), "idle")


def duration(seconds: float | None) -> str:
    """Return a time span in its two largest units."""
    if seconds is None:
        return ""
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s" if whole < 10 * _MINUTE else f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def ago(moment: datetime | None) -> Markup:
    """Return how long ago something was, with the exact time in UTC as its title."""
    if moment is None:
        return Markup("")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    text = duration((datetime.now(UTC) - moment).total_seconds())
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(), f"{exact:%Y-%m-%d %H:%M:%S} UTC", text
    )


def size(number: int) -> str:
    """Return a number of bytes in the largest unit."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1024:  # noqa: PLR2004 - the step between two units
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def last_line(text: str | None) -> str:
    """Return the last line of an error, which names it."""
    lines = (text or "").strip().splitlines()
    return lines[-1][:300] if lines else ""


def as_json(value: Any) -> tuple[str, bool]:
    """Return a value as indented JSON, and whether it is longer than what is shown."""
    from monty.json import jsanitize

    text = json.dumps(jsanitize(value, strict=False, enum_values=True), indent=2, ensure_ascii=False)
    return text[:MOST_SHOWN], len(text) > MOST_SHOWN


def query(**values: Any) -> str:
    """Return the query of a URL."""
    return urlencode({name: value for name, value in values.items() if value is not None}, doseq=True)


def code(text: str) -> Markup:
    """Return a text whose parts between backquotes are code."""
    parts = clean(text).split("`")
    shown = [Markup("<code>{}</code>" if number % 2 else "{}").format(part) for number, part in enumerate(parts)]
    return Markup("").join(shown)


def _shown(value: Any) -> Any:
    """Take the control characters out of every text that is not HTML."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


class Pages:
    """The templates of all pages.

    Parameters
    ----------
    shared
        What every page knows.
    """

    def __init__(self, **shared: Any) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "ago": ago,
            "code": code,
            "duration": duration,
            "size": size,
            "tone": tone,
            "last_line": last_line,
        }
        self._environment.globals |= {
            "JobState": JobState,
            "FlowState": FlowState,
            "BatchState": BatchState,
            "query": query,
            **shared,
        }

    def compile(self) -> None:
        """Compile all templates, which the first page of each would wait for otherwise."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return a page as HTML."""
        return self._environment.get_template(name).render(values)
