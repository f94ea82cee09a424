from __future__ import annotations

import logging
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore, MongoStore

from jfr_mp.config import ConfigManager, ExecutionConfig, LocalWorker, Project, ProjectData
from jfr_mp.errors import ConfigError, ProjectParsingError, ProjectUndefinedError

EXAMPLES = Path(__file__).parent / "projects"
QUEUE = "queue: {store: {type: MongoStore, database: db, collection_name: jobs, password: SECRET}}\n"


def write(folder: Path, name: str, more: str = "", file: str = "") -> Path:
    path = folder / (file or f"{name}.yaml")
    path.write_text(f"name: {name}\n{QUEUE}{more}")
    return path


def worker(work_dir: str = "/work") -> LocalWorker:
    return LocalWorker(scheduler_type="shell", work_dir=Path(work_dir))


def contents(manager: ConfigManager) -> dict[str, Any]:
    return {name: project.model_dump() for name, project in manager.projects.items()}


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value


# Which project


def test_the_only_project_needs_no_name(folder: Path) -> None:
    write(folder, "a")
    assert ConfigManager().get_project().name == "a"


def test_the_one_chosen_by_argument_goes_before_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two projects and one of them in the environment
    write(folder, "a")
    write(folder, "b")
    monkeypatch.setenv("JFREMOTE_PROJECT", "b")

    # Then that one is taken unless another one is named
    assert ConfigManager().get_project().name == "b"
    assert ConfigManager().get_project("a").name == "a"


@pytest.mark.parametrize("exists", [True, False])
def test_no_project(folder: Path, exists: bool) -> None:
    if not exists:
        folder.rmdir()
    with pytest.raises(ProjectUndefinedError, match=rf"no project in {folder}: create one with `jfr-mp init`"):
        ConfigManager().get_project()


def test_several_projects_and_none_chosen(folder: Path) -> None:
    write(folder, "a")
    write(folder, "b")
    with pytest.raises(ProjectUndefinedError, match=r"choose one of a, b with `-p NAME` or .* JFREMOTE_PROJECT"):
        ConfigManager().get_project()


def test_a_name_that_is_not_there(folder: Path) -> None:
    write(folder, "alpha")
    with pytest.raises(ProjectParsingError, match=r"no project 'alpa' in .* \(did you mean 'alpha'\?\); known: alpha"):
        ConfigManager().get_project("alpa")


def test_two_projects_of_one_name_hide_no_other(folder: Path) -> None:
    # Given two files with the same name, and another one
    first = write(folder, "a", file="one.yaml")
    second = write(folder, "a", file="two.yaml")
    write(folder, "b")

    # Then both files are named where the project is asked for
    manager = ConfigManager()
    with pytest.raises(ProjectParsingError, match=rf"'a' is defined by {first} and {second}; rename or remove"):
        manager.get_project("a")

    # And the other one is there
    assert manager.get_project("b").name == "b"


# Broken files


def test_a_broken_file_hides_no_other_and_says_what_is_wrong(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given a valid project, one with a wrong field, one that does not parse, and a folder that looks like a file
    write(folder, "good")
    wrong = write(folder, "bad", "log_level: loud\nworkrs: {}\n", file="other_name.yaml")
    unparsable = write(folder, "ugly", "runner: [\n")
    (folder / "strange.yaml").mkdir()

    # When they are read
    with caplog.at_level(logging.WARNING):
        manager = ConfigManager(warn=True)

    # Then the valid one is there, but it is not taken unless it is chosen
    assert list(manager.projects) == ["good"]
    assert manager.get_project("good").name == "good"
    with pytest.raises(ProjectUndefinedError, match=r"choose one of good, bad, strange, ugly(.|\n)*workrs"):
        manager.get_project()

    # And each other one says what is wrong, by its name or by that of its file
    assert set(manager.broken) == {"bad", "ugly", "strange"}
    with pytest.raises(ProjectParsingError, match=rf"{wrong}: workrs: unknown field \(did you mean 'workers'\?\)"):
        manager.get_project("bad")
    with pytest.raises(ProjectParsingError, match=rf"{unparsable}, line 4, column 1: is not valid YAML"):
        manager.get_project("ugly")
    assert "SECRET" not in caplog.text + "".join(map(str, manager.broken.values()))
    assert caplog.text.count("ignoring an invalid project file") == 3


def test_when_no_file_is_valid_all_errors_are_shown(folder: Path) -> None:
    write(folder, "a", "foo: 1\n")
    write(folder, "b", "bar: 1\n")
    with pytest.raises(ProjectParsingError, match=r"(?s)a\.yaml: foo: unknown field.*b\.yaml: bar: unknown field"):
        ConfigManager().get_project()


def test_a_projects_folder_that_cannot_be_read(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file")
    with pytest.raises(ConfigError, match=rf"{folder}: the projects folder cannot be read: Not a directory"):
        ConfigManager()


def test_names_are_found_in_files_that_are_not_valid(folder: Path) -> None:
    write(folder, "a")
    write(folder, "b", "foo: 1\n")
    write(folder, "c", "foo: [\n")
    assert ConfigManager().project_names_from_files(suppress_warnings=True) == (["a", "b"], ["c.yaml"])


# The peer's files


def test_files_of_jobflow_remote_are_accepted(folder: Path) -> None:
    # Given project files with everything that jobflow-remote 1.0.1 accepts (each was read by it)
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)

    # When they are read, then all are valid
    manager = ConfigManager()
    assert manager.broken == {}
    assert set(manager.projects) == {path.stem for path in EXAMPLES.iterdir()}

    # And what they say is there
    everything = manager.get_project("everything")
    assert {name: item.type for name, item in everything.workers.items()} == {
        "here": "local",
        "here_batch": "local",
        "cluster": "remote",
        "cluster_batch": "remote",
        "split": "separated_transfer",
        "serialized": "local",
    }
    dumped = everything.model_dump()
    assert dumped["workers"]["cluster"]["gateway"]["gateway"]["gateway"] == "ssh -W %h:%p outer.net"
    assert dumped["workers"]["split"]["transfer"]["host"] == "dtn.lab.gov"
    assert dumped["remote_jobstore"] == {"store": "msgpack", "zip": True}
    assert everything.runner.delta_retry == (1, 10, 100)
    assert manager.get_project("alias").jobstore["docs_store"]["database"] == "out"
    assert manager.get_project("cluster").jfr_mp.probe_interval == 0.5


@pytest.mark.parametrize("ext", ConfigManager.projects_ext)
@pytest.mark.parametrize("options", [{}, {"exclude_unset": True}, {"exclude_none": True}], ids=str)
def test_what_is_written_is_read_as_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ext: str, options: dict[str, bool]
) -> None:
    # Given the projects of the examples
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    manager = ConfigManager(**options)
    before = contents(manager)

    # When they are written in each format
    for path in folder.iterdir():
        path.unlink()
    for name, project in manager.projects.items():
        manager.dump_project(ProjectData(folder / f"{name}.{ext}", project, ext))

    # Then they are read as they were, dates in the free metadata as text
    after = contents(ConfigManager())
    before["everything"]["metadata"]["since"] = "2024-05-01"
    if ext == "toml" or "exclude_none" in options:
        # What None means there is lost, because it is not the default.
        before["everything"]["runner"]["lock_timeout"] = 86400
        before["everything"]["workers"]["cluster"].update(keepalive=60, shell_cmd="bash")
        before, after = without_none(before), without_none(after)
    assert after == before


# Changes


def test_create_and_remove(folder: Path) -> None:
    # Given no folder at all
    folder.rmdir()
    manager = ConfigManager()
    project = Project.model_validate({"name": "new", "queue": {}, "workers": {"w": worker()}})

    # When a project is created, then its file is for the owner only, and its folders are there
    manager.create_project(project, ext="toml")
    assert stat.S_IMODE((folder / "new.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Path(project.tmp_dir).is_dir()
    assert ConfigManager().get_project().workers["w"].is_local

    # And it is not created twice
    with pytest.raises(ConfigError, match="project 'new' already exists"):
        ConfigManager().create_project(project)

    # When it is removed, then nothing is left
    manager.remove_project("new")
    assert list(folder.iterdir()) == []


def test_a_project_of_another_format(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot"):
        ConfigManager().create_project(Project.model_validate({"name": "a", "queue": {}}), ext="ini")
    assert list(folder.iterdir()) == []


def test_a_base_folder_that_holds_more_is_not_removed(folder: Path) -> None:
    path = write(folder, "a", f"base_dir: {folder.parent}\n")
    with pytest.raises(ConfigError, match=f"{folder.parent}: contains more than the project 'a'"):
        ConfigManager().remove_project("a")
    assert path.exists()
    ConfigManager().remove_project("a", remove_folders=False)
    assert not path.exists()


def test_update(folder: Path) -> None:
    # Given a project
    path = write(folder, "a")
    manager = ConfigManager()

    # When it is updated, then what was not named stays
    manager.update_project({"log_level": "debug", "runner": {"delay_checkout": 1}}, "a")
    assert ConfigManager().get_project("a").runner.delay_checkout == 1
    assert ConfigManager().get_project("a").queue.store["password"] == "SECRET"

    # When the update is wrong, then nothing changes
    before = path.read_text()
    with pytest.raises(ConfigError, match=rf"{path}: runner\.delay_checkout: must be a valid number"):
        manager.update_project({"runner": {"delay_checkout": "soon"}}, "a")
    assert path.read_text() == before
    assert manager.get_project("a").runner.delay_checkout == 1

    # When it is renamed, then the old name is gone
    manager.update_project({"name": "b"}, "a")
    assert list(manager.projects) == list(ConfigManager().projects) == ["b"]


def test_backup(folder: Path) -> None:
    path = write(folder, "a")
    for _ in range(2):
        ConfigManager().backup_project("a")
    assert [(folder / f"a.yaml.bak.{number}").read_text() for number in (1, 2)] == [path.read_text()] * 2


def test_workers(folder: Path) -> None:
    # Given a project
    write(folder, "a")
    manager = ConfigManager(exclude_unset=True)

    # When a worker is set, then it is there, and only replaced when told so
    manager.set_worker("w", worker())
    with pytest.raises(ConfigError, match="already has a worker 'w'"):
        manager.set_worker("w", worker("/other"))
    manager.set_worker("w", worker("/other"), replace=True)
    assert ConfigManager().get_worker("w").work_dir == Path("/other")

    # When it is removed, then it is not
    manager.remove_worker("w")
    with pytest.raises(ConfigError, match="has no worker 'w'; known: none"):
        ConfigManager().get_worker("w")
    with pytest.raises(ConfigError, match="has no worker 'w'"):
        manager.remove_worker("w")


def test_exec_configs(folder: Path) -> None:
    # Given a project
    write(folder, "a")
    manager = ConfigManager()

    # When an execution configuration is set, then it is there, and only replaced when told so
    manager.set_exec_config("e", ExecutionConfig(modules=["a"]))
    with pytest.raises(ConfigError, match="already has an exec_config 'e'"):
        manager.set_exec_config("e", ExecutionConfig())
    manager.set_exec_config("e", ExecutionConfig(modules=["b"]), replace=True)
    assert ConfigManager().get_exec_config("e").modules == ["b"]

    # When it is removed, then it is not
    manager.remove_exec_config("e")
    with pytest.raises(ConfigError, match="has no exec_config 'e'"):
        ConfigManager().get_exec_config("e")


def test_stores(folder: Path) -> None:
    # Given a project
    write(folder, "a")
    manager = ConfigManager()

    # When its stores are set, then it has them, and the other fields of the queue stay
    manager.set_queue_db(MongoStore("other", "my_jobs"))
    manager.set_jobstore(JobStore(MemoryStore(), additional_stores={"data": MemoryStore()}))
    project = ConfigManager().get_project()
    assert project.get_queue_store().as_dict()["collection_name"] == "my_jobs"
    assert project.queue.flows_collection == "flows"
    assert set(project.get_jobstore().additional_stores) == {"data"}


# Comments


COMMENTED = """\
# My project
name: a   # short
queue:
  # The server of the group
  store: {type: MongoStore, database: db, collection_name: jobs, password: 'SECRET'}
workers:
  # The big one
  cluster:
    type: local
    scheduler_type: "slurm"
    work_dir: /work   # on the fast disk
    max_jobs: 5
  old: {type: local, scheduler_type: shell, work_dir: /old}   # to be removed
"""


def test_the_comments_of_a_file_stay(folder: Path) -> None:
    # Given a file that a user has written
    path = folder / "a.yaml"
    path.write_text(COMMENTED)

    # When a worker is changed, one is removed and one is added, by a manager that writes what is set only
    manager = ConfigManager(exclude_unset=True)
    manager.set_worker("new", worker("/new"))
    manager.remove_worker("old")
    manager.update_project({"workers": {"cluster": {"max_jobs": 7}}}, "a")

    # Then the lines of what was not changed are as they were
    text = path.read_text()
    kept = [line for line in COMMENTED.splitlines() if "max_jobs" not in line and "old" not in line]
    assert [line for line in kept if line not in text.splitlines()] == []
    # and the changes are in the file
    project = ConfigManager().get_project()
    assert set(project.workers) == {"cluster", "new"}
    assert project.workers["cluster"].max_jobs == 7


def test_a_file_with_aliases_is_written_anew(folder: Path) -> None:
    # Given two workers that share their fields, so that a change of one in the file would be one of both
    path = folder / "a.yaml"
    path.write_text(
        f"name: a\n{QUEUE}workers:\n  one: &w {{type: local, scheduler_type: shell, work_dir: /w}}\n"
        "  two:\n    <<: *w\n    max_jobs: 2\n  three: *w\n"
    )

    # When one of them is changed, then the others are not
    manager = ConfigManager(exclude_unset=True)
    manager.update_project({"workers": {"one": {"max_jobs": 9}}}, "a")
    assert {name: each.max_jobs for name, each in ConfigManager().get_project().workers.items()} == {
        "one": 9,
        "two": 2,
        "three": None,
    }
