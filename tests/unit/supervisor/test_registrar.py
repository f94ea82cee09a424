"""The registrar writes what it is told however often that fails, and nobody waits for it."""

from __future__ import annotations

import logging
import threading

import pytest

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.errors import DatabaseUnavailable
from jfr_mp.supervisor.registrar import Registrar
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(30)

STATUS = MasterStatus(host="here", pid=1, state="RUNNING", roles=[])


class Registry:
    """Writes down what it is told, unless it is away."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.away = False
        self.tried = 0
        self.open = threading.Event()
        self.open.set()

    def role_gone(self, owner: str) -> None:
        self._note(f"gone {owner}")

    def heartbeat(self, status: MasterStatus) -> None:
        self._note(f"heartbeat {status.state}")

    def leave(self) -> None:
        self._note("left")

    def _note(self, text: str) -> None:
        self.tried += 1
        self.open.wait(20)
        if self.away:
            raise DatabaseUnavailable("nobody at localhost:1")
        self.notes.append(text)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_the_dead_are_noted_at_once_and_the_living_again_and_again(registry: Registry) -> None:
    # Given
    slow, fast = Registrar(registry, 3600), Registrar(Registry(), 0.01)
    fast_registry = fast._registry  # noqa: SLF001 - what the test gave it
    assert isinstance(fast_registry, Registry)
    # When
    slow.gone("a")
    slow.gone("b")
    fast.tell(STATUS)
    # Then
    wait_until(lambda: registry.notes == ["gone a", "gone b"], 10, "both")
    wait_until(lambda: fast_registry.notes.count("heartbeat RUNNING") > 2, 10, "heartbeats")
    slow.close(10)
    fast.close(10)
    assert registry.notes[-1] == fast_registry.notes[-1] == "left"


def test_what_fails_is_repeated_in_order_and_said_once(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    # Given
    caplog.set_level(logging.INFO)
    registry.away = True
    registrar = Registrar(registry, 0.01)
    # When
    registrar.gone("a")
    registrar.gone("b")
    wait_until(lambda: registry.tried > 3, 10, "several attempts")
    registry.away = False
    wait_until(lambda: registry.notes == ["gone a", "gone b"], 10, "both")
    registrar.close(10)
    # Then
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "nobody at localhost:1" in caplog.text


def test_a_database_that_hangs_holds_up_neither_the_master_nor_its_end(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    registry.open.clear()
    registrar = Registrar(registry, 0.01)
    # When
    registrar.gone("a")
    wait_until(lambda: registry.tried == 1, 10, "the attempt")
    registrar.gone("b")
    registrar.close(0.05)
    # Then
    assert "cleaned up by the next start" in caplog.text
    registry.open.set()
