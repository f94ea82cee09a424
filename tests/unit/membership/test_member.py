"""A member writes to the registry whatever goes wrong there, and nothing waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from jfr_mp.bus.messages import CommandReply
from jfr_mp.config.options import JfrMpOptions
from jfr_mp.database.orders import MasterOrder
from jfr_mp.database.processes import Report
from jfr_mp.errors import AlreadyRunning, DatabaseUnavailable
from jfr_mp.membership.member import Member
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(30)

#: Heartbeats as fast as a test wants them, and none within a test.
FAST = JfrMpOptions(heartbeat_interval=0.01, lease_ttl=3600)
SLOW = JfrMpOptions(heartbeat_interval=1800, lease_ttl=3600)


class FakeRegistry:
    """Notes what it is told, unless the database is down."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        #: What every call raises; None if the database is up.
        self.down: Exception | None = None
        self.tried = 0
        self.known = True
        #: Cleared to make every call hang.
        self.answers = threading.Event()
        self.answers.set()

    def enter(self) -> None:
        self._note("entered")
        self.known = True

    def beat(self, report: Report) -> bool:
        self._note(f"beat {report.state}")
        return self.known

    def look_after_others(self) -> float:
        self._note("looked")
        return 0.0

    def evict(self, owner: str) -> None:
        self._note(f"evicted {owner}")

    def take_orders(self) -> list[MasterOrder]:
        return []

    def answer(self, order: MasterOrder, reply: CommandReply) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        self._note("left")

    def count(self, note: str) -> int:
        return self.notes.count(note)

    def _note(self, text: str) -> None:
        self.tried += 1
        self.answers.wait(20)
        if self.down:
            raise self.down
        self.notes.append(text)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def join(registry: FakeRegistry) -> Iterator[Callable[[JfrMpOptions], Member]]:
    """Call it to get a member that has entered; it leaves with the test."""
    members = []

    def join(options: JfrMpOptions) -> Member:
        member = Member(registry, options)
        member.enter()
        members.append(member)
        return member

    yield join
    registry.answers.set()
    for member in members:
        member.leave(10)


Join = Callable[[JfrMpOptions], Member]


def test_a_life_from_entering_to_leaving(registry: FakeRegistry) -> None:
    # When
    with Member(registry, FAST) as member:
        wait_until(lambda: registry.count("beat RUNNING") > 2, 10, "heartbeats")
        member.report(Report(state="STOPPING"))
        wait_until(lambda: registry.count("beat STOPPING") > 2, 10, "heartbeats with another report")
    # Then
    assert (registry.notes[0], registry.notes[-1]) == ("entered", "left")
    assert registry.notes[1:5] == ["beat RUNNING", "looked"] * 2


def test_the_dead_are_evicted_at_once_and_in_order(registry: FakeRegistry, join: Join) -> None:
    member = join(SLOW)
    member.evict("a")
    member.evict("b")
    wait_until(lambda: "evicted b" in registry.notes, 10, "both")
    assert [note for note in registry.notes if note.startswith("evicted")] == ["evicted a", "evicted b"]


def test_a_process_that_may_not_enter_is_no_member(registry: FakeRegistry) -> None:
    registry.down = AlreadyRunning("another runner")
    with pytest.raises(AlreadyRunning), Member(registry, FAST):
        pytest.fail("it entered")
    assert registry.tried == 1


@pytest.mark.parametrize(
    ("error", "traceback"), [(DatabaseUnavailable("no mongod at localhost:1"), False), (KeyError("a bug"), True)]
)
def test_failures_are_retried_and_logged_once(
    registry: FakeRegistry, join: Join, caplog: pytest.LogCaptureFixture, error: Exception, traceback: bool
) -> None:
    # Given a database that is down
    caplog.set_level(logging.INFO)
    member = join(FAST)
    registry.down = error
    # When
    member.evict("a")
    member.evict("b")
    wait_until(lambda: registry.tried > 20, 10, "several attempts")
    registry.down = None
    # Then what was due is done when it is back
    wait_until(lambda: "evicted b" in registry.notes, 10, "both")
    wait_until(lambda: len(caplog.records) > 1, 10, "the end of the failures")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) is traceback


@pytest.mark.timing
def test_a_database_that_hangs_delays_neither_the_process_nor_its_exit(
    registry: FakeRegistry, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    member = join(FAST)
    registry.answers.clear()
    tried = registry.tried
    wait_until(lambda: registry.tried > tried, 10, "a call that hangs")
    # When
    begun = time.monotonic()
    member.report(Report(state="STOPPING"))
    member.evict("a")
    member.leave(0.05)
    # Then
    assert time.monotonic() - begun < 5
    assert "could not leave the registry" in caplog.text


def test_a_member_that_leaves_does_nothing_else_first(registry: FakeRegistry) -> None:
    # Given a member between two heartbeats
    with Member(registry, SLOW):
        pass
    # Then leaving does not wait for a heartbeat, which may take long if the database is down
    assert registry.notes == ["entered", "left"]


def test_a_member_with_evictions_left_to_do_stays_registered(registry: FakeRegistry, join: Join) -> None:
    # Given
    member = join(SLOW)
    registry.down = DatabaseUnavailable("no mongod at localhost:1")
    # When
    member.evict("a")
    member.leave(10)
    # Then its record leads the next start to what is left
    assert registry.notes == ["entered"]


def test_locks_are_held_from_entering_on_while_the_lease_is_renewed(registry: FakeRegistry) -> None:
    # Given
    before = time.monotonic()
    member = Member(registry, JfrMpOptions(heartbeat_interval=0.05, lease_ttl=0.5))
    assert not member.holds_since(before)
    with member:
        entered = time.monotonic()
        # Then
        assert member.holds_since(entered)
        assert not member.holds_since(before)
        wait_until(lambda: registry.count("beat RUNNING") > 20, 10, "heartbeats for two leases")
        assert member.holds_since(entered)
        # When the database does not answer for longer than the lease, as if the process was suspended
        registry.answers.clear()
        wait_until(lambda: not member.holds_since(entered), 10, "the end of the lease")
        # Then it holds its locks again with the next answer, unless it was evicted
        registry.answers.set()
        wait_until(lambda: member.holds_since(entered), 10, "a heartbeat")


def test_a_member_that_was_evicted_enters_again_and_has_lost_its_locks(
    registry: FakeRegistry, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    member = join(FAST)
    entered = time.monotonic()
    assert member.holds_since(entered)
    # When
    registry.known = False
    # Then
    wait_until(lambda: registry.count("entered") == 2, 10, "another registration")
    wait_until(lambda: not member.holds_since(entered), 10, "the loss")
    assert member.holds_since(time.monotonic())
    assert "was evicted" in caplog.text
