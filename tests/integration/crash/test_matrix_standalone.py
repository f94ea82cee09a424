"""Whatever can happen at the end of a job without transactions; see `matrix`."""

from __future__ import annotations

import pytest

from tests.integration.crash.conftest import Deployment
from tests.integration.crash.matrix import ACTIONS, WITHIN_THE_END, strike


@pytest.mark.parametrize("point", WITHIN_THE_END)
@pytest.mark.parametrize("action", ACTIONS)
def test_without_transactions(standalone: Deployment, point: str, action: str) -> None:
    strike(standalone, point, action)
