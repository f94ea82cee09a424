"""The plots of reports. matplotlib is imported when one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.database.activity import PHASES
from jfr_mp.errors import ConfigError
from jfr_mp.logs import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jfr_mp.api.activity import ActivityReport

#: How many causes are drawn, and how much of their text.
_CAUSES, _TEXT = 8, 60
_FAILURES = "#c8453b"
_COLOURS = {"COMPLETED": "#4c9a52", "FAILED": _FAILURES, "REMOTE_ERROR": "#d99a2b"}
_COLOUR = "#5b7fa6"
#: The number of intervals whose names fit side by side.
_FITTING = 8


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError("plots need matplotlib: pip install matplotlib, or leave out --output") from error
    return Figure(figsize=(width, height), layout="constrained")


def activity_figure(report: ActivityReport) -> Figure:
    """Return the plots of what jobs have done."""
    figure = new_figure(10, 10)
    axes = figure.subplot_mosaic(
        [["busy", "busy"], ["hours", "phases"], ["failures", "failures"]], height_ratios=(1.2, 1, 1)
    )
    names = list(report.workers)
    _plot_busy(axes["busy"], report, names)
    _bars(axes["hours"], names, [report.workers[name].core_hours for name in names], "Core hours")
    _plot_phases(axes["phases"], report, names)
    causes = report.failures[:_CAUSES]
    texts = [_short(cause.first_line) for cause in causes]
    _bars(axes["failures"], texts, [cause.number for cause in causes], "Failures by cause", _FAILURES)
    return figure


def trends_figure(
    title: str, counts: Mapping[str, int], lately: str, dates: Sequence[str], trends: Mapping[str, Sequence[int]]
) -> Figure:
    """Return the plots of a report of jobs or flows: the numbers by state, and below them those of each interval.

    Parameters
    ----------
    title, counts
        The title of the first plot, and its numbers by state.
    lately, dates, trends
        The title of the second plot, the intervals, and their numbers by state.
    """
    figure = new_figure(9, 6.5)
    states, intervals = figure.subplots(2, 1)
    _plot_counts(states, title, counts)
    _plot_trends(intervals, lately, dates, trends)
    return figure


def _plot_counts(axes: Any, title: str, counts: Mapping[str, int]) -> None:
    bars = axes.barh(list(counts), list(counts.values()), color=[_COLOURS.get(name, _COLOUR) for name in counts])
    axes.bar_label(bars, padding=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.invert_yaxis()
    axes.set_title(title)


def _plot_trends(axes: Any, title: str, dates: Sequence[str], trends: Mapping[str, Sequence[int]]) -> None:
    below = [0] * len(dates)
    for name, numbers in trends.items():
        axes.bar(dates, numbers, bottom=below, label=name, color=_COLOURS[name])
        below = [low + number for low, number in zip(below, numbers, strict=True)]
    axes.set_title(title)
    axes.tick_params(axis="x", labelrotation=45 if len(dates) > _FITTING else 0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if trends:
        axes.legend()


def _plot_busy(axes: Any, report: ActivityReport, names: Sequence[str]) -> None:
    if names:
        axes.stackplot(report.times, *(report.workers[name].busy for name in names), labels=names, step="post")
        axes.legend(loc="upper left")
    axes.set_title("Busy cores [UTC]")
    axes.set_xlim(report.since, report.until)


def _plot_phases(axes: Any, report: ActivityReport, names: Sequence[str]) -> None:
    left = [0.0] * len(names)
    for phase in PHASES:
        values = [report.workers[name].mean(phase) or 0.0 for name in names]
        axes.barh(names, values, left=left, label=phase)
        left = [low + value for low, value in zip(left, values, strict=True)]
    axes.set_title("Mean time of jobs that ended [s]")
    axes.invert_yaxis()
    if names:
        axes.legend()


def _bars(axes: Any, names: Sequence[str], values: Sequence[float], title: str, colour: str | None = None) -> None:
    # By position, because two causes may have the same beginning.
    places = range(len(names))
    axes.bar_label(axes.barh(places, values, color=colour), fmt="%.4g", padding=3)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_title(title)


def _short(text: str) -> str:
    # A dollar sign would begin a formula.
    shown = clean(text).replace("$", r"\$")
    return shown if len(shown) <= _TEXT else shown[:_TEXT] + "..."
