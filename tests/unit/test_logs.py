from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp import logs
from jfr_mp.logs import LogFormat

ATTACK = "a\x1b]0;owned\x07b\x9b2Jc\r\u202ed\ud800"


def test_what_controls_a_terminal_is_replaced() -> None:
    cleaned = logs.clean(ATTACK + "\n\té")
    assert cleaned == "a\ufffd]0;owned\ufffdb\ufffd2Jc\ufffd\ufffdd\ufffd\n\té"


@pytest.fixture
def _nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logging of this process as it is."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging.getLogger("jfr_mp"), "level", logging.INFO)
    yield
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("_nothing_left")
def test_the_log_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    # Given the log of a process
    logs.configure(logging.INFO, "queue-1")
    # When a name with escape sequences is logged
    logging.getLogger("jfr_mp.test").warning("job %s", ATTACK)
    # Then none of them is in the log
    assert not set("\x1b\x07\x9b\r\u202e") & set(capsys.readouterr().err)


@pytest.mark.usefixtures("_nothing_left")
def test_a_container_gets_json_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logging.INFO, "master", LogFormat.JSON)
    logging.getLogger("jfr_mp.test").warning("50%% of job %s", ATTACK)
    entry = json.loads(capsys.readouterr().out)
    assert (entry["level"], entry["process"], entry["logger"]) == ("warning", "master", "jfr_mp.test")
    assert entry["message"].startswith("50% of job a\ufffd]0")
    assert entry["time"][10] == "T"


@pytest.mark.usefixtures("_nothing_left")
def test_a_name_may_look_like_a_format(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logging.INFO, "100%(s)s", LogFormat.JOURNAL)
    logging.getLogger("jfr_mp.test").error("one\ntwo")
    assert capsys.readouterr().err.splitlines()[0].startswith("<3>100%(s)s ")


def test_the_journal_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert LogFormat.fitting(stream) is LogFormat.TEXT
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert LogFormat.fitting(stream) is LogFormat.JOURNAL
        # A process whose output went elsewhere inherits the variable
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert LogFormat.fitting(stream) is LogFormat.TEXT
    assert LogFormat.fitting(io.StringIO()) is LogFormat.TEXT


@pytest.mark.parametrize(
    ("number", "thing", "expected"),
    [
        (1, "job", "1 job"),
        (0, "job", "0 jobs"),
        (2, "batch", "2 batches"),
        (1, "batch", "1 batch"),
        (3, "run directory", "3 run directories"),
        (2, "process", "2 processes"),
    ],
)
def test_things_are_counted_in_words(number: int, thing: str, expected: str) -> None:
    assert logs.counted(number, thing) == expected
