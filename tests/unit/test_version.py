from __future__ import annotations

import re

import pytest

import jfr_mp
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    ("file", "pattern"), [("pyproject.toml", r'version = "(.+)"'), ("CITATION.cff", "version: (.+)")]
)
def test_the_version_is_the_same_everywhere(file: str, pattern: str) -> None:
    found = re.search(f"^{pattern}$", (ROOT / file).read_text(), re.MULTILINE)
    assert found
    assert found[1] == jfr_mp.__version__
