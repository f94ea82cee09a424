"""Requests of threads that wait for one another go together: all that come meanwhile form the next group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Grouping(Generic[Q, A]):
    """Performs the requests of several threads in groups, one group after the other.

    A request that finds none under way is performed at once; nothing waits for company.

    Parameters
    ----------
    perform
        Performs some requests and returns the answer, or the error, of each. Any other error is that of all of them.
    most
        The maximum number of requests in a group.
    """

    def __init__(self, perform: Callable[[Sequence[Q]], Sequence[A | Exception]], most: int) -> None:
        self._perform = perform
        self._most = most
        self._waiting: list[tuple[Q, Future[A]]] = []
        self._is_under_way = False
        self._changed = threading.Condition()

    def ask(self, request: Q) -> A:
        """Return the answer to a request, or raise its error."""
        answer: Future[A] = Future()
        with self._changed:
            self._waiting.append((request, answer))
        while group := self._next_group(answer):
            try:
                self._answer(group)
            finally:
                with self._changed:
                    self._is_under_way = False
                    self._changed.notify_all()
        return answer.result()

    def _next_group(self, mine: Future[A]) -> list[tuple[Q, Future[A]]]:
        """Return the requests to perform now; none if there is an answer to mine, for which this waits otherwise."""
        with self._changed:
            while not mine.done() and self._is_under_way:
                self._changed.wait()
            if mine.done():
                return []
            self._is_under_way = True
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            return group

    def _answer(self, group: list[tuple[Q, Future[A]]]) -> None:
        try:
            answers = self._perform([request for request, _ in group])
        except BaseException as error:  # noqa: BLE001 - every thread that waits raises it
            for _, waiting in group:
                waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(group, answers, strict=True):
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
