from __future__ import annotations

import threading

import pytest

from jfr_mp.diagnosis.deadline import within
from jfr_mp.errors import HostError


def test_what_hangs_is_not_waited_for() -> None:
    never = threading.Event()
    try:
        with pytest.raises(HostError, match=r"no answer within 0\.05 s"):
            within(0.05, never.wait)
    finally:
        never.set()


def test_what_returns_in_time() -> None:
    assert within(5, lambda: 3) == 3


def test_an_error_is_passed_on() -> None:
    def fail() -> None:
        raise TimeoutError("the store's own")

    with pytest.raises(TimeoutError, match="the store's own"):
        within(5, fail)
