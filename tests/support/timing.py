"""The marker `timing`, for the few tests that measure time and can fail on a loaded machine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

#: How often such a test may run again.
RERUNS = 2


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", f"timing(reason): measures time; may run {RERUNS} more times if it fails")


# First, so that the reruns are there when pytest-rerunfailures looks for them.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Allow the marked tests to run again, unless a run without the plugin looks for flaky tests."""
    may_rerun = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        for marker in item.iter_markers("timing"):
            _check(item, marker)
            if may_rerun:
                item.add_marker(pytest.mark.flaky(reruns=RERUNS))


def _check(item: pytest.Item, marker: pytest.Mark) -> None:
    reason = marker.kwargs.get("reason")
    if marker.args or set(marker.kwargs) != {"reason"} or not (isinstance(reason, str) and reason.strip()):
        raise pytest.UsageError(f'{item.nodeid}: write @pytest.mark.timing(reason="...") with the reason, nothing else')
