from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.cli.projects.init import check_name, make_work_dir, project_document
from jfr_mp.config import ConfigManager, Project
from jfr_mp.errors import ConfigError


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigManager:
    """The projects of a folder with one project file that is not valid."""
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(tmp_path))
    monkeypatch.setenv("JFREMOTE_CONFIG_FILE", str(tmp_path / "settings"))
    (tmp_path / "taken.yaml").write_text("name: [")
    (tmp_path / "other.json").write_text('{"name": "hidden"}')
    return ConfigManager()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("taken", r"already exists \(.*taken\.yaml\)"),
        ("hidden", "already exists"),
        ("a/b", "cannot be the name"),
        (".a", "cannot be the name"),
        ("", "cannot be the name"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(manager: ConfigManager, name: str, complaint: str) -> None:
    check_name("free", manager)

    with pytest.raises(ConfigError, match=complaint):
        check_name(name, manager)


def test_the_new_project_is_valid_and_has_one_worker(manager: ConfigManager, tmp_path: Path) -> None:
    store = {"type": "MongoStore", "database": "d", "collection_name": "jobs"}
    embedded_db = {"dir": str(tmp_path / "mongod"), "port": 27000}

    project = Project.model_validate(
        project_document("new", tmp_path / "work", store, {"docs_store": store}, embedded_db)
    )

    assert list(project.workers) == ["local"]
    assert project.jfr_mp.embedded_db is not None
    assert project.base_dir == str(manager.projects_folder / "new")


def test_a_work_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"file/work cannot be made"):
        make_work_dir(tmp_path / "file" / "work")
