from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.config.salvage import salvage

BROKEN = {
    "an unknown field": "name: main\ndaemon_dir: /srv/daemon\nno_such_field: 1\n",
    "no YAML at all": 'name: main  # a comment\ndaemon_dir: "/srv/daemon"\nworkers: [\n',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(tmp_path))
    monkeypatch.setenv("JFREMOTE_CONFIG_FILE", str(tmp_path / "nothing.yaml"))
    monkeypatch.delenv("JFREMOTE_PROJECT", raising=False)
    return tmp_path


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["main", None])
def test_the_processes_of_a_broken_project_can_be_found(folder: Path, text: str, name: str | None) -> None:
    (folder / "main.yaml").write_text(text)
    found = salvage(name)
    assert found is not None
    assert (found.name, found.daemon_dir) == ("main", "/srv/daemon")
    assert found.jfr_mp.stop_timeout == 60


def test_directories_have_their_defaults(folder: Path) -> None:
    (folder / "main.yaml").write_text("workers: [\n")
    found = salvage("main")
    assert found is not None
    assert found.daemon_dir == str(folder / "main" / "daemon")


def test_no_other_project_is_taken(folder: Path) -> None:
    (folder / "main.yaml").write_text("workers: [\n")
    assert salvage("other") is None
    (folder / "other.yaml").write_text("workers: [\n")
    assert salvage() is None
