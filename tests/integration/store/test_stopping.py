"""A user stops a job."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.states import JobState
from jfr_mp.store.stopping import stop_job
