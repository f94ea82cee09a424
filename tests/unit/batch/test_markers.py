"""The names of the markers, which jobflow-remote's processes read and write too."""

from __future__ import annotations

import pytest

from jfr_mp.batch.markers import Marker, Place

UUID = "abcdef01-2345-6789-abcd-ef0123456789"
BATCH = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("marker", "path"),
    [
        (Marker(UUID, 1, Place.SUBMITTED), f"submitted/{UUID}_1"),
        (Marker(UUID, 12, Place.RUNNING, BATCH), f"running/{UUID}_12_{BATCH}"),
        (Marker(UUID, 1, Place.FINISHED, "by-hand"), f"run_finished/{UUID}_1_by-hand"),
    ],
)
def test_a_marker_and_its_path(marker: Marker, path: str) -> None:
    assert marker.path == path
    assert Marker.parse(marker.place, path.partition("/")[2]) == marker


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Place.SUBMITTED, ".nfs0000001"),
        (Place.SUBMITTED, f"{UUID}"),
        (Place.SUBMITTED, f"{UUID}_1_{BATCH}"),
        (Place.SUBMITTED, "notes_1"),
        (Place.RUNNING, f"{UUID}_1"),
        (Place.FINISHED, f"{UUID}_x_{BATCH}"),
    ],
)
def test_other_files_are_no_markers(place: Place, name: str) -> None:
    assert Marker.parse(place, name) is None
