"""An inbox between threads."""

from __future__ import annotations

import os
import select
import threading
from concurrent.futures import ThreadPoolExecutor

from jfr_mp.bus.inbox import Inbox


def readable(inbox: Inbox[int], within: float = 0.0) -> bool:
    return bool(select.select([inbox], [], [], within)[0])


def test_what_any_thread_puts_in_wakes_the_reader_and_comes_out_in_order() -> None:
    with Inbox[int]() as inbox:
        assert not readable(inbox)
        with ThreadPoolExecutor(1) as other:
            other.map(inbox.put, range(3))
            assert readable(inbox, within=10)
        assert list(inbox.take()) == [0, 1, 2]
        assert not readable(inbox)
        assert list(inbox.take()) == []


def test_more_than_a_pipe_holds_is_kept() -> None:
    with Inbox[int]() as inbox:
        for number in range(100_000):
            inbox.put(number)
        assert len(inbox) == 100_000
        assert list(inbox.take()) == list(range(100_000))
        assert not readable(inbox)


def test_a_closed_inbox_writes_into_no_file_that_gets_its_number() -> None:
    inbox = Inbox[int]()
    inbox.close()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        thread = threading.Thread(target=inbox.put, args=(1,))
        thread.start()
        thread.join(10)
        assert not select.select([reading], [], [], 0)[0]
    finally:
        os.close(reading)
        os.close(writing)
