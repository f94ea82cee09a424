from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jfr_mp.hosts.local import LocalHost
from jfr_mp.schedulers.journal import Event, JournalReader, journal_lines, journal_path
from tests.support.waiting import wait_until

TIME = datetime(2026, 11, 22, 10, 0, 0, 500000, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = Path(journal_path(tmp_path))
    path.parent.mkdir()
    return path


def append(journal: Path, text: str) -> None:
    with journal.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (f"start a-b_1 t1 {TIME.timestamp()}", Event("a-b", 1, "t1", False, TIME)),
        (f"end a-b_12 t1 {TIME.timestamp()}", Event("a-b", 12, "t1", True, TIME)),
        (f"end a-b_1 t1 {TIME.timestamp()}".replace(".", ","), Event("a-b", 1, "t1", True, TIME)),
        ("end a-b_1 t1 1795341600", Event("a-b", 1, "t1", True, datetime(2026, 11, 22, 10, 0, tzinfo=UTC))),
        ("", None),
        ("end a-b_1 t1", None),
        ("end a-b_x t1 1", None),
        ("stop a-b_1 t1 1", None),
        ("end a-b_1 t1 soon", None),
        ("end a-b_1 t1 1e300", None),
        ("end a-b_1 t1 1 2", None),
    ],
)
def test_a_line(line: str, event: Event | None) -> None:
    assert Event.parse(line) == event


def test_each_line_is_told_once_and_only_when_it_is_whole(tmp_path: Path, journal: Path) -> None:
    reader = JournalReader(LocalHost(), tmp_path)
    assert reader.new_events() == []
    append(journal, "start a_1 t 1\nnoise\nend a_")
    assert [event.job for event in reader.new_events()] == [("a", 1)]
    assert reader.new_events() == []
    append(journal, "1 t 2\n")
    assert [(event.job, event.ended) for event in reader.new_events()] == [(("a", 1), True)]


def test_a_worker_without_a_journal_has_no_events(tmp_path: Path) -> None:
    assert JournalReader(LocalHost(), tmp_path / "nowhere").new_events() == []


def test_a_reader_that_is_to_be_sparing_looks_seldom_and_misses_nothing(tmp_path: Path, journal: Path) -> None:
    # Given a reader that has just looked
    reader = JournalReader(LocalHost(), tmp_path, pause=0.5)
    append(journal, "start a_1 t 1\n")
    assert [event.uuid for event in reader.new_events()] == ["a"]
    # When more is written
    append(journal, "start b_1 t 1\n")
    begun = time.monotonic()
    events = wait_until(reader.new_events, 10, "the next look")
    # Then it is told, but not before the pause is over
    assert [event.uuid for event in events] == ["b"]
    assert time.monotonic() - begun > 0.3


def test_nothing_is_lost_when_one_of_two_readers_rotates(tmp_path: Path, journal: Path) -> None:
    # Given two readers that have read one line, and a second line that only one has read
    one, two = (JournalReader(LocalHost(), tmp_path, rotate_at=20) for _ in range(2))
    append(journal, "start a_1 t 1\n")
    assert [len(reader.new_events()) for reader in (one, two)] == [1, 1]
    append(journal, "start b_1 t 1\n")
    # When that one rotates and the next job begins
    assert [event.uuid for event in one.new_events()] == ["b"]
    assert not journal.exists()
    append(journal, "end a_1 t 3\n")
    # Then both are told everything
    assert [event.uuid for event in one.new_events()] == ["a"]
    assert [event.uuid for event in two.new_events()] == ["b", "a"]


def test_a_script_reports_its_start_and_its_end_however_it_ends(tmp_path: Path) -> None:
    # Given scripts that end in different ways
    reader = JournalReader(LocalHost(), tmp_path)
    for number, ending in enumerate(["", "exit 3", "set -e\nfalse\necho never", "kill -s TERM $$"]):
        script = "\n".join([*journal_lines(tmp_path, f"job-{number}_1", "token"), ending])
        # When they run
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
        # Then each tells its start and its end, and keeps its own exit code
        assert [(event.job, event.submission, event.ended) for event in reader.new_events()] == [
            ((f"job-{number}", 1), "token", False),
            ((f"job-{number}", 1), "token", True),
        ]
        assert done.returncode == [0, 3, 1, -15][number]
        assert done.stdout + done.stderr == b""
