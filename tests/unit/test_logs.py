from __future__ import annotations

import logging

import pytest

from jfr_mp import logs

ATTACK = "a\x1b]0;owned\x07b\x9b2Jc\r\u202ed\ud800"


def test_what_controls_a_terminal_is_replaced() -> None:
    cleaned = logs.clean(ATTACK + "\n\té")
    assert cleaned == "a\ufffd]0;owned\ufffdb\ufffd2Jc\ufffd\ufffdd\ufffd\n\té"


def test_the_log_is_clean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the log of a process, of which this test leaves nothing behind
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging.getLogger("jfr_mp"), "level", logging.INFO)
    logs.configure(logging.INFO, "queue-1")
    logging.captureWarnings(capture=False)
    # When a name with escape sequences is logged
    logging.getLogger("jfr_mp.test").warning("job %s", ATTACK)
    # Then none of them is in the log
    assert not set("\x1b\x07\x9b\r\u202e") & set(capsys.readouterr().err)
