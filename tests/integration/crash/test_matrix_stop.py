"""Processes that stop at a fault point, lose their lease, and go on; see `matrix`."""

from __future__ import annotations

import pytest

from tests.integration.crash.conftest import Deployment
from tests.integration.crash.matrix import REACHED, strike


@pytest.mark.parametrize("point", REACHED)
def test_with_transactions(replica: Deployment, point: str) -> None:
    strike(replica, point, "stop")
