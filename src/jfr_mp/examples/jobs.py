"""Jobs to try things out with, under the names of jobflow-remote's examples, so that its tutorials work."""

from __future__ import annotations

import secrets
import time
from typing import Any, NoReturn

from jobflow import Flow, Job, Response, job


@job
def add(a: Any, b: Any) -> Any:
    """Return the sum of two values."""
    return a + b


@job
def add_many(*to_sum: Any) -> Any:
    """Return the sum of any number of values."""
    return sum(to_sum)


@job
def sleep(s: float) -> float:
    """Sleep some seconds, and return their number."""
    time.sleep(s)
    return s


@job
def add_raise(a: Any, b: Any) -> NoReturn:
    """Fail."""
    raise RuntimeError("An error for a and b")


@job
def make_list(a: Any, length: int | None = None) -> list[Any]:
    """Return a list with a value repeated, two to five times if no length is given."""
    return [a] * (length or 2 + secrets.randbelow(4))


@job
def add_distributed(list_a: list[Any]) -> Response[Any]:
    """Replace itself with one job for each value, which adds 1 to it."""
    return Response(replace=Flow([add(each, 1) for each in list_a]))


@job
def value(n: Any) -> Any:
    """Return the value."""
    return n


@job
def conditional_sum_replace(numbers: list[Any], min_n: float = 10) -> Any:
    """Return the sum of some numbers; while it is too small, replace itself with jobs that add 5 to it."""
    total = sum(numbers)
    if total >= min_n:
        return total
    parts: list[Job] = [value(total), value(5)]
    again = conditional_sum_replace([part.output for part in parts], min_n=min_n)
    return Response(replace=Flow([*parts, again], output=again.output))
