from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from jfr_mp.gui import hub
from jfr_mp.gui.hub import Hub


def test_a_page_is_told_once_more_when_all_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a page that is opened after the last event, and that may show what was kept from before it
    monkeypatch.setattr(hub, "_SETTLED", 0.05)
    monkeypatch.setattr(hub, "_SILENCE", 0.1)
    monkeypatch.setattr(hub, "_BREATH", 0.0)

    async def heard(number: int) -> list[str]:
        messages = Hub(cast("Any", None)).messages(lambda _event: True)
        return [await asyncio.wait_for(anext(messages), 10) for _ in range(number)]

    # When nothing happens any more
    hello, change, alive, again = asyncio.run(heard(4))
    # Then it is told to look once more, and left alone after that
    assert "event: hello" in hello
    assert "event: change" in change
    assert alive == again == ": alive\n\n"
