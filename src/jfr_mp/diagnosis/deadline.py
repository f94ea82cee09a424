"""Waiting, for a limited time, for what may never answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

from jfr_mp.errors import HostError

_Result = TypeVar("_Result")


def within(seconds: float, body: Callable[[], _Result]) -> _Result:
    """Run something that may hang, and return its result.

    If it hangs, its thread is left behind and ends with the process.

    Raises
    ------
    HostError
        It took longer.
    """
    done: Future[_Result] = Future()

    def run() -> None:
        try:
            done.set_result(body())
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        if done.done():
            raise
        raise HostError(f"no answer within {seconds:g} s") from error
