"""Directives that show data of the code: the state machine and the options of project files."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from html import escape
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from jfr_mp.states import JobState
from jfr_mp.step_table import STEPS, Role, Step

COLOURS = {Role.CHECKOUT: "#7a5195", Role.TRANSFER: "#1f77b4", Role.QUEUE: "#c8781e", Role.COMPLETE: "#3a8a4d"}

_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    PurePath: "path",
    BaseModel: "section",
    Mapping: "mapping",
    dict: "mapping",
    Sequence: "list",
}

BOX_WIDTH, BOX_HEIGHT, ROW = 170, 30, 58
LEFT, TOP = 20, 12


class _Table(Directive):
    """A table whose cells are Markdown."""

    header: tuple[str, ...]

    def rows(self) -> Iterable[tuple[str, ...]]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        lines = [self.header, tuple("---" for _ in self.header), *self.rows()]
        text = StringList(["| " + " | ".join(line) + " |" for line in lines], source="generated")
        parent = nodes.container()
        self.state.nested_parse(text, self.content_offset, parent)
        return list(parent.children)


class StateTable(_Table):
    """The steps, one a row."""

    header = ("step", "role", "from", "to", "what it does")

    def rows(self) -> Iterator[tuple[str, ...]]:
        for step in STEPS:
            yield step.name, step.role.value, _names(step.sources), _names(step.targets), step.summary


class OptionTable(_Table):
    """The fields of a pydantic model, named by its import path."""

    required_arguments = 1
    header = ("option", "type", "default", "meaning")

    def rows(self) -> Iterator[tuple[str, ...]]:
        module_name, _, class_name = self.arguments[0].rpartition(".")
        model: type[BaseModel] = getattr(importlib.import_module(module_name), class_name)
        for name, field in model.model_fields.items():
            meaning = next((text for base in model.__mro__ if (text := _comment(base, name))), field.description or "")
            default = _default(field.get_default(call_default_factory=True))
            yield f"`{name}`", _kind(field.annotation), default, meaning.replace("|", "or")


class StateDiagram(Directive):
    """The states as boxes and the steps as arrows, coloured by role."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", _svg(), format="html")]


def _names(states: Iterable[JobState]) -> str:
    return ", ".join(state.value for state in states)


def _comment(model: type, field: str) -> str:
    """Return the ``#:`` comment of a field."""
    if model.__module__.startswith("jfr_mp"):
        analyzer = ModuleAnalyzer.for_module(model.__module__)
        analyzer.analyze()
        return " ".join(analyzer.attr_docs.get((model.__qualname__, field), [])).replace("``", "`").strip()
    return ""


def _kind(annotation: Any) -> str:
    """Return a type in the words of a YAML file."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in arguments if each is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if not isinstance(kind := origin or annotation, type):
        return "anything"
    if issubclass(kind, Enum):
        return " or ".join(f"`{each.value}`" for each in kind)
    return next((word for base, word in _WORDS.items() if issubclass(kind, base)), kind.__name__)


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "those below"
    if value == "":
        return ""
    if value is None or value == {}:
        return "none"
    return f"`{getattr(value, 'value', value)}`"


def _edges() -> Iterator[tuple[Step, JobState, JobState]]:
    for step in STEPS:
        for source in step.sources:
            for target in step.targets:
                if source is not target:
                    yield step, source, target


def _svg() -> str:
    states = list(dict.fromkeys(state for _, *ends in _edges() for state in ends))
    states.sort(key=list(JobState).index)
    states.sort(key=_depth)
    at = {state: TOP + ROW * number for number, state in enumerate(states)}
    arrows = "".join(_arrow(step, at[source], at[target]) for step, source, target in _edges())
    boxes = "".join(_box(state, y) for state, y in at.items())
    legend = "".join(_legend(role, number) for number, role in enumerate(Role))
    markers = "".join(
        f'<marker id="head-{role.value}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        for role, colour in COLOURS.items()
    )
    height = TOP + ROW * len(states)
    return (
        f'<svg viewBox="0 0 620 {height}" style="max-width:620px;width:100%" role="img" font-size="13" '
        f'aria-label="States of a job and the steps between them"><defs>{markers}</defs>{arrows}{boxes}{legend}</svg>'
    )


def _depth(state: JobState) -> int:
    """Return the number of steps on the longest way to a state, without the ways back."""
    before = [source for step, source, target in _edges() if target is state and not _leads_back(step, source, target)]
    return 1 + max(map(_depth, before), default=0)


def _leads_back(step: Step, source: JobState, target: JobState) -> bool:
    within = target in step.sources and step.sources.index(target) < step.sources.index(source)
    returns = target is not step.targets[0] and any(
        (target, source) == (begin, end) for _, begin, end in _edges() if begin not in step.sources
    )
    return within or returns


def _box(state: JobState, y: float) -> str:
    return (
        f'<rect x="{LEFT}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="var(--color-background-secondary,#f4f4f4)" stroke="currentColor" stroke-opacity=".5"/>'
        f'<text x="{LEFT + BOX_WIDTH / 2}" y="{y + 20}" text-anchor="middle" fill="currentColor">{state.value}</text>'
    )


def _arrow(step: Step, start: float, end: float) -> str:
    style = f'fill="none" stroke="{COLOURS[step.role]}" stroke-width="1.8" marker-end="url(#head-{step.role.value})"'
    if end - start == ROW:
        x = LEFT + BOX_WIDTH / 2
        label = f'<text x="{x + 10}" y="{start + 48}" fill="{COLOURS[step.role]}">{escape(step.name)}</text>'
        return f'<path d="M{x} {start + BOX_HEIGHT}V{end}" {style}/>{label}'
    # A step that passes over other states goes around them, the wider the farther.
    x, reach = LEFT + BOX_WIDTH, LEFT + BOX_WIDTH + 34 * (end - start) / ROW
    first, last = start + BOX_HEIGHT - 8, end + 8
    # A cubic curve with both handles at `reach` gets three quarters of the way there.
    bulge = x + 0.75 * (reach - x)
    label = f'<text x="{bulge + 5}" y="{(first + last) / 2}" fill="{COLOURS[step.role]}">{escape(step.name)}</text>'
    return f'<path d="M{x} {first}C{reach} {first} {reach} {last} {x} {last}" {style}/>{label}'


def _legend(role: Role, number: int) -> str:
    y = TOP + 16 + 22 * number
    return (
        f'<rect x="440" y="{y - 10}" width="12" height="12" fill="{COLOURS[role]}"/>'
        f'<text x="460" y="{y}" fill="currentColor">role {role.value}</text>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known."""
    app.add_directive("state-table", StateTable)
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
