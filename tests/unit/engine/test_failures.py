"""What a failure of a step means for its job."""

from __future__ import annotations

import errno
import os

import pytest
from pymongo.errors import AutoReconnect, DocumentTooLarge, ServerSelectionTimeoutError

from jfr_mp.engine.failures import outcome_of
from jfr_mp.errors import (
    CommandTimeout,
    ConfigError,
    FlowLockedError,
    HostError,
    HostUnreachable,
    LeaseLost,
    LoginNeeded,
    SchedulerError,
    SiteLimit,
)
from jfr_mp.outcomes import Blame, Fail, Retry


@pytest.mark.parametrize("error", [AutoReconnect("closed"), ServerSelectionTimeoutError("no primary")])
def test_a_store_that_is_away_spends_no_attempt(error: Exception) -> None:
    outcome = outcome_of(error)
    assert isinstance(outcome, Retry)
    assert not outcome.spend_attempt
    assert outcome.delay


@pytest.mark.parametrize("error", [HostUnreachable("connection lost"), LoginNeeded("wants a password")], ids=repr)
def test_a_host_that_is_away_is_to_blame_itself(error: HostUnreachable) -> None:
    outcome = outcome_of(error)
    assert isinstance(outcome, Retry)
    assert outcome.blame is (Blame.LOGIN if isinstance(error, LoginNeeded) else Blame.HOST)


@pytest.mark.parametrize(
    "error",
    [
        SiteLimit("QOSMaxSubmitJobPerUserLimit"),
        CommandTimeout("mkdir did not end within 60 s"),
        HostError("cannot write x: No space left on device"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "x"),
    ],
    ids=repr,
)
def test_a_site_that_takes_no_more_now_is_waited_for(error: Exception) -> None:
    outcome = outcome_of(error)
    assert isinstance(outcome, Retry)
    assert str(error) in outcome.why
    assert not outcome.spend_attempt
    assert outcome.delay


def test_a_step_that_was_given_up_spends_no_attempt() -> None:
    outcome = outcome_of(LeaseLost("suspended for too long"))
    assert isinstance(outcome, Retry)
    assert not outcome.spend_attempt


def test_an_output_over_the_limit_of_mongodb_says_what_to_do() -> None:
    outcome = outcome_of(DocumentTooLarge("BSON document too large (20000123 bytes)"))
    assert isinstance(outcome, Fail)
    assert "16 MB" in outcome.why
    assert "additional store" in outcome.why


@pytest.mark.parametrize(
    "error", [HostError("no such directory", permanent=True), ConfigError("there is no worker 'x'")], ids=repr
)
def test_what_does_not_pass_fails_the_job(error: Exception) -> None:
    assert outcome_of(error) == Fail(str(error))


@pytest.mark.parametrize(
    "error",
    [HostError("no such file"), SchedulerError("no answer"), FlowLockedError("by somebody")],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert outcome_of(error) == Retry(str(error))


def test_a_bug_is_tried_again_and_leaves_its_traceback() -> None:
    try:
        raise ZeroDivisionError("division by zero\nsecond line")
    except ZeroDivisionError as error:
        outcome = outcome_of(error)
    assert isinstance(outcome, Retry)
    assert outcome.why == "ZeroDivisionError: division by zero"
    assert "Traceback" in outcome.detail
