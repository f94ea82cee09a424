from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty projects folder, and no settings but this one."""
    for name in ("PROJECT", "CLI_FULL_EXC", "CLI_SUGGESTIONS", "CLI_LOG_LEVEL", "CLI_JOB_LIST_COLUMNS"):
        monkeypatch.delenv(f"JFREMOTE_{name}", raising=False)
    folder = tmp_path / "projects"
    folder.mkdir()
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(folder))
    monkeypatch.setenv("JFREMOTE_CONFIG_FILE", str(tmp_path / "settings.yaml"))
    return folder
