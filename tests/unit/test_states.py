"""The state machine as data."""

from __future__ import annotations

import pytest

from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import STEPS, Role, step_from, steps_of

S = JobState


def test_terminated_is_run_finished() -> None:
    assert {JobState("TERMINATED"), JobState.TERMINATED} == {JobState.RUN_FINISHED}


def test_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="'HALTED' is not a valid JobState"):
        JobState("HALTED")


def test_short_names_are_unique() -> None:
    assert len({state.short_value for state in JobState}) == len(JobState)


def test_every_step_belongs_to_its_role() -> None:
    assert {step for role in Role for step in steps_of(role)} == set(STEPS)
    assert all(step.role is role for role in Role for step in steps_of(role))


def test_no_state_is_claimed_by_two_steps() -> None:
    sources = [state for step in STEPS for state in step.sources]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize("state", [S.WAITING, S.COMPLETED, S.FAILED, S.REMOTE_ERROR, S.PAUSED])
def test_no_step_takes_a_job_from_a_state_of_rest(state: JobState) -> None:
    assert step_from(state) is None


def test_the_steps_lead_from_ready_to_completed() -> None:
    # Given a job that is READY
    state, seen = S.READY, [S.READY]

    # When each step takes it to its last target
    while (step := step_from(state)) is not None and S.COMPLETED not in step.targets:
        state = step.targets[-1] if S.BATCH_SUBMITTED not in step.targets else step.targets[0]
        seen.append(state)

    # Then it gets as far as the completion
    assert seen == [S.READY, S.CHECKED_OUT, S.UPLOADED, S.SUBMITTED, S.DOWNLOADED]


@pytest.mark.parametrize(
    ("states", "leaves", "flow"),
    [
        ([S.WAITING, S.WAITING], [S.WAITING], FlowState.WAITING),
        ([S.READY, S.WAITING], [S.WAITING], FlowState.READY),
        ([S.COMPLETED, S.COMPLETED], [S.COMPLETED], FlowState.COMPLETED),
        ([S.FAILED, S.COMPLETED], [S.COMPLETED], FlowState.COMPLETED),
        ([S.FAILED, S.WAITING], [S.WAITING], FlowState.FAILED),
        ([S.COMPLETED, S.STOPPED], [S.STOPPED], FlowState.STOPPED),
        ([S.COMPLETED, S.USER_STOPPED], [S.USER_STOPPED], FlowState.STOPPED),
        ([S.COMPLETED, S.PAUSED], [S.PAUSED], FlowState.PAUSED),
        ([S.COMPLETED, S.RUNNING], [S.RUNNING], FlowState.RUNNING),
        ([S.REMOTE_ERROR, S.WAITING], [S.WAITING], FlowState.RUNNING),
    ],
)
def test_state_of_a_flow(states: list[JobState], leaves: list[JobState], flow: FlowState) -> None:
    assert FlowState.from_jobs_states(states, leaves) is flow
