"""The text of messages."""

from __future__ import annotations

from jfr_mp.config.notifications import Occasion
from jfr_mp.database.notifications import Bundle, Notice
from jfr_mp.notify.text import PHRASES, compose


def notice(number: int, detail: str = "ValueError: no", occasion: str = Occasion.JOB_FAILED) -> Notice:
    return Notice("failures", occasion, f"k{number}", f"job {number} (relax)", str(number), detail)


def test_many_failures_are_one_message() -> None:
    bundle = Bundle("m1", "failures", {Occasion.JOB_FAILED: 37}, [notice(number) for number in range(10)])
    title, body = compose("main", bundle)
    assert title == "[jfr-mp main] 37 jobs FAILED"
    lines = body.splitlines()
    assert lines[:2] == ["job 0 (relax): ValueError: no", "job 1 (relax): ValueError: no"]
    assert lines[10] == "... and 27 more"
    assert "jfr-mp -p main job list -s FAILED" in lines
    assert lines[-1] == "Message m1 of the rule failures"


def test_one_failure_has_the_command_that_explains_it() -> None:
    title, body = compose("main", Bundle("m1", "failures", {Occasion.JOB_FAILED: 1}, [notice(7)]))
    assert title == "[jfr-mp main] 1 job FAILED"
    assert "jfr-mp -p main job explain 7" in body


def test_different_occasions_share_a_message() -> None:
    first = [notice(1), notice(2, occasion=Occasion.HOST_DOWN)]
    title, body = compose("main", Bundle("m1", "all", {Occasion.HOST_DOWN: 1, Occasion.JOB_FAILED: 1}, first))
    assert title == "[jfr-mp main] 1 job FAILED, 1 host unreachable"
    assert "job list -s FAILED" in body
    assert "jfr-mp -p main status" in body


def test_what_a_job_wrote_is_cleaned_and_bounded() -> None:
    _, body = compose(
        "main", Bundle("m1", "all", {Occasion.JOB_FAILED: 1}, [notice(1, "\x1b[31mno\nmore" + "x" * 999)])
    )
    assert "\x1b" not in body
    assert max(map(len, body.splitlines())) < 300


def test_what_readers_may_copy_to_their_shell_is_quoted() -> None:
    one = Notice("r", Occasion.JOB_FAILED, "k", "job " + "x" * 9999, "7; rm -rf ~\x1b")
    _, body = compose("my project", Bundle("m1", "r", {Occasion.JOB_FAILED: 1}, [one]))
    assert "jfr-mp -p 'my project' job explain '7; rm -rf ~" in body
    assert "\x1b" not in body
    assert max(map(len, body.splitlines())) < 300


def test_each_occasion_has_a_phrase() -> None:
    assert set(PHRASES) == set(Occasion)
