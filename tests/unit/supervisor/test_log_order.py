"""Answers to the command `log`: bounded, clean, and not trusted."""

from __future__ import annotations

import base64
import json
import random
import string
import time
import zlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from jfr_mp.bus.gate import MAX_SIZE
from jfr_mp.bus.messages import CommandReply, encode
from jfr_mp.errors import BusError
from jfr_mp.supervisor.log_order import LogArguments, answer, read

HEAD = "2026-01-31 12:{:02}:{:02},000 [{}] queue-1 7 jfr_mp.engine: "


def write(directory: Path, *texts: str, level: str = "INFO", name: str = "queue-1") -> None:
    lines = [f"{HEAD.format(number // 60, number % 60, level)}{text}\n" for number, text in enumerate(texts)]
    (directory / f"{name}.log").write_text("".join(lines))


def packed(document: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path, "one", "job 3: two\nTraceback (most recent call last):\nKeyError: 1")
    write(tmp_path, "three", name="transfer-1")
    entries, cut = read(answer(tmp_path, LogArguments()))
    assert not cut
    assert [entry.text.splitlines()[0].rpartition(" ")[2] for entry in entries] == ["one", "three", "two"]
    assert entries[0].text == HEAD.format(0, 0, "INFO") + "one"
    assert entries[0].moment == "2026-01-31 12:00:00,000"
    assert entries[2].text.endswith("\nKeyError: 1")
    assert [each.text[-5:] for each in read(answer(tmp_path, LogArguments(role="transfer")))[0]] == ["three"]
    assert read(answer(tmp_path, LogArguments(role="../../etc/passwd"))) == ([], False)
    assert len(read(answer(tmp_path, LogArguments(job="3")))[0]) == 1


def test_an_answer_has_a_maximum_size_whatever_is_in_the_log(tmp_path: Path) -> None:
    # Given entries that cannot be compressed, one of them very large
    letters = random.Random(1)
    noise = ["".join(letters.choices(string.printable[:94], k=300)) for _ in range(3000)]
    write(tmp_path, *noise, "x" * 100_000 + "end")
    # When as many as possible are asked for
    text = answer(tmp_path, LogArguments(number=1000))
    # Then the answer fits into a message of the bus, and has the last ones
    assert len(encode(CommandReply(done=True, text=text))) < MAX_SIZE
    entries, cut = read(text)
    assert cut
    assert len(entries) > 50
    assert entries[-1].text.endswith("end")
    assert all(len(entry.text) < 5000 for entry in entries)


def test_a_master_searches_only_the_end_of_a_large_log_and_says_so(tmp_path: Path) -> None:
    # Given a log of 7 MB whose only error is at its beginning
    write(tmp_path, *["y" * 2000] * 3500)
    log = tmp_path / "queue-1.log"
    log.write_text(HEAD.format(0, 0, "ERROR") + "early\n" + log.read_text())
    begun = time.process_time()
    entries, cut = read(answer(tmp_path, LogArguments.model_validate({"level": "error"})))
    assert (entries, cut) == ([], True)
    assert time.process_time() - begun < 0.5


def test_what_controls_a_terminal_is_removed_at_both_ends(tmp_path: Path) -> None:
    write(tmp_path, "\x1b[31mred\x1b[0m \u202e")
    (entry,), _ = read(answer(tmp_path, LogArguments()))
    assert "\x1b" not in entry.text
    assert "\u202e" not in entry.text
    sent = {"entries": [{"time": 1.0, "level": 20, "text": "\x1b]0;title\x07"}]}
    (entry,), _ = read(packed(sent))
    assert "\x1b" not in entry.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stops after the current steps",
        packed({"entries": 1}),
        packed({"entries": [{"time": 1e300, "level": 20, "text": ""}]}),
        base64.b64encode(zlib.compress(b" " * 50_000_000)).decode(),
    ],
    ids=["empty", "another answer", "another document", "no time", "a bomb"],
)
def test_an_answer_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(BusError, match="was not understood"):
        read(text)


@pytest.mark.parametrize("wrong", [{"number": 0}, {"number": 10**6}, {"role": "x" * 100}, {"since": float("nan")}])
def test_what_asks_for_too_much_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LogArguments.model_validate(wrong)
