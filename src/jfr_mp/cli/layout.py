"""How a table gets into the width of a terminal without a word that is cut: by shorter texts, then by more lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len

from jfr_mp.cli.tables import Cell, Column, Sheet

#: Spaces between two columns.
GAP = 2

#: The parts of a long word, each with what it may be broken behind.
_PARTS = re.compile(r"[^_/-]*[_/-]+|[^_/-]+")


def fit(sheet: Sheet, width: int) -> Sheet | None:
    """Return a table that is at most so wide, or None if it cannot be.

    The cells keep their texts if they fit. Otherwise they get their short texts, and if these do not fit either, cells
    and titles are wrapped: at spaces, and within long words of the columns that allow it.
    """
    for whole in (sheet, shortened(sheet)):
        if _total(_widths(whole)) <= width:
            return whole
    widths = _narrowed(whole, width)
    return None if widths is None else _wrapped(whole, widths)


def shortened(sheet: Sheet) -> Sheet:
    """Return a table with the short texts of its cells."""
    rows = tuple(tuple(cell._replace(text=cell.short or cell.text) for cell in row) for row in sheet.rows)
    return replace(sheet, rows=rows)


def wrap(text: str, width: int, *, breaks: bool = False) -> str:
    """Return a text with a line feed wherever a line would be longer; only a word that cannot be broken is."""
    return "\n".join(_fill(line, width, breaks) for line in text.split("\n"))


def _fill(text: str, width: int, breaks: bool) -> str:
    lines = [""]
    for word in text.split():
        parts = _PARTS.findall(word) if breaks and cell_len(word) > width else [word]
        for number, part in enumerate(parts):
            joined = f"{lines[-1]} {part}" if number == 0 and lines[-1] else lines[-1] + part
            if lines[-1] and cell_len(joined) > width:
                lines.append(part)
            else:
                lines[-1] = joined
    return "\n".join(lines)


def _texts(sheet: Sheet) -> list[list[str]]:
    """Return the texts of each column, the title first."""
    return [[column.title, *(row[number].text for row in sheet.rows)] for number, column in enumerate(sheet.columns)]


def _widths(sheet: Sheet) -> list[int]:
    return [max(cell_len(line) for text in texts for line in text.split("\n")) for texts in _texts(sheet)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _least(texts: Sequence[str], breaks: bool) -> int:
    """Return the width below which a column would cut words."""
    words = [word for text in texts for word in text.split()]
    parts = [part for word in words for part in (_PARTS.findall(word) if breaks else [word])]
    return max(map(cell_len, parts), default=0)


def _narrowed(sheet: Sheet, width: int) -> list[int] | None:
    """Return a width for each column, or None: first titles are wrapped, then long words, then all cells."""
    widths, titles = _widths(sheet), [_least([column.title], breaks=False) for column in sheet.columns]
    cells = _widths(replace(sheet, columns=tuple(Column("") for _ in sheet.columns)))
    least = [_least(texts, column.breaks) for texts, column in zip(_texts(sheet), sheet.columns, strict=True)]
    whole = [max(title, cell) for title, cell in zip(titles, cells, strict=True)]
    broken = [
        narrow if column.breaks else wide for narrow, wide, column in zip(least, whole, sheet.columns, strict=True)
    ]
    for floor in (whole, broken, least):
        while _total(widths) > width:
            wide = [number for number in range(len(widths)) if widths[number] > floor[number]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths if _total(widths) <= width else None


def _wrapped(sheet: Sheet, widths: Sequence[int]) -> Sheet:
    def cell(number: int, given: Cell) -> Cell:
        return given._replace(text=wrap(given.text, widths[number], breaks=sheet.columns[number].breaks))

    columns = tuple(
        Column(wrap(column.title, widths[number]), column.breaks) for number, column in enumerate(sheet.columns)
    )
    return Sheet(columns, tuple(tuple(cell(number, each) for number, each in enumerate(row)) for row in sheet.rows))
