"""Groups of states, under the names of jobflow-remote."""

from __future__ import annotations

from jfr_mp import states
from jfr_mp.states import JobState

PAUSABLE_STATES = list(reversed(states.STOPPABLE_STATES))
RUNNING_STATES = list(states.RUNNING_STATES)
#: The states of a job on its way that is in no batch.
RESETTABLE_STATES = [state for state in RUNNING_STATES if not state.value.startswith("BATCH")]
DELETABLE_STATES = [state for state in JobState if not state.value.startswith("BATCH")]
ERROR_STATES = [JobState.REMOTE_ERROR, JobState.FAILED]
PAUSABLE_STATES_V = [state.value for state in PAUSABLE_STATES]
RUNNING_STATES_V = [state.value for state in RUNNING_STATES]
RESETTABLE_STATES_V = RUNNING_STATES_V
#: The states by their abbreviations.
short_state_mapping = {state.short_value: state for state in JobState}
