"""Finding, reading, validating and changing the project files in the projects folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jfr_mp.config import files
from jfr_mp.config.project import Project
from jfr_mp.config.settings import get_settings
from jfr_mp.config.validation import listed, suggestion
from jfr_mp.errors import ConfigError, ProjectParsingError, ProjectUndefinedError

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.stores import MongoStore

    from jfr_mp.config.workers import ExecutionConfig, WorkerConfig

logger = logging.getLogger(__name__)


class ProjectData(NamedTuple):
    """A project and its file; `ext` is the suffix of the file without the dot."""

    filepath: Path
    project: Project
    ext: str


class ConfigManager:
    """The projects of a user.

    An invalid file does not affect other projects: it is listed in `broken`, and its project raises that error.

    Parameters
    ----------
    exclude_unset
        Whether to write only the fields of a project that were set explicitly.
    exclude_none
        Whether to write only the fields of a project that are not None. As in TOML, which has no null value, a None
        that is not the default is lost.
    warn
        Whether to log the errors in broken files.

    Attributes
    ----------
    projects_folder : Path
        The folder with the project files.
    projects_data : dict
        The valid projects by name.
    chosen : str or None
        The name of the project in the settings.
    broken : dict
        A `ProjectParsingError` for each invalid project, by its name, or by the name of its file if it has no name.

    Raises
    ------
    ConfigError
        The settings are wrong, or the projects folder cannot be read.
    """

    projects_ext = ("json", "yaml", "toml")
    #: The class of the projects.
    project_class: type[Project] = Project

    def __init__(self, exclude_unset: bool = False, exclude_none: bool = False, warn: bool = False) -> None:
        self.exclude_unset = exclude_unset
        self.exclude_none = exclude_none
        self.warn = warn
        settings = get_settings()
        self.projects_folder = settings.projects_folder
        self.chosen = settings.project
        self.broken: dict[str, ProjectParsingError] = {}
        self.projects_data = self.load_projects_data()

    @property
    def projects(self) -> dict[str, Project]:
        """The valid projects by name."""
        return {name: data.project for name, data in self.projects_data.items()}

    def load_projects_data(self) -> dict[str, ProjectData]:
        """Read all project files again and return the valid projects by name."""
        found: dict[str, list[ProjectData]] = {}
        errors: dict[str, list[str]] = {}
        for path in self.project_files(self.projects_folder):
            name = path.stem
            try:
                raw = files.load(path)
                name = str(raw.get("name") or name)
                project = self._validated(raw, path)
                found.setdefault(project.name, []).append(ProjectData(path, project, path.suffix[1:]))
            except ConfigError as error:
                errors.setdefault(name, []).append(str(error))
                if self.warn:
                    logger.warning("ignoring an invalid project file: %s", error)
        for name, several in found.items():
            if len(several) > 1:
                paths = " and ".join(str(data.filepath) for data in several)
                errors[name] = [f"the project {name!r} is defined by {paths}; rename or remove all but one"]
        self.broken = {name: ProjectParsingError("\n".join(texts)) for name, texts in errors.items()}
        return {name: several[0] for name, several in found.items() if len(several) == 1}

    def select_project_name(self, project_name: str | None = None) -> str:
        """Return the name of the project to use: the given one, else the one in the settings, else the only one.

        Raises
        ------
        ProjectUndefinedError
            There is no project, or there are several and none is chosen.
        ProjectParsingError
            No project is chosen, and no project file is valid.
        """
        name = project_name or self.chosen
        if name:
            return name
        if len(self.projects_data) == 1 and not self.broken:
            return next(iter(self.projects_data))
        if self.projects_data:
            # A broken project may be the one that is meant: no other is taken for it.
            raise ProjectUndefinedError(
                f"there are several projects and none is chosen: choose one of "
                f"{listed([*self.projects_data, *self.broken])} with `-p NAME` or with the environment variable "
                "JFREMOTE_PROJECT" + "".join(f"\n{error}" for error in self.broken.values())
            )
        if self.broken:
            raise ProjectParsingError("\n".join(str(error) for error in self.broken.values()))
        raise ProjectUndefinedError(
            f"there is no project in {self.projects_folder}: create one with `jfr-mp init`, "
            "or set the environment variable JFREMOTE_PROJECTS_FOLDER to another folder"
        )

    def get_project_data(self, project_name: str | None = None) -> ProjectData:
        """Return a project with its file; the name is as for `select_project_name`.

        Raises
        ------
        ProjectUndefinedError
            There is no project, or there are several and none is chosen.
        ProjectParsingError
            The project does not exist, or its file is not valid; the message names file, field and reason.
        """
        name = self.select_project_name(project_name)
        if name in self.projects_data:
            return self.projects_data[name]
        if name in self.broken:
            raise self.broken[name]
        known = [*self.projects_data, *self.broken]
        raise ProjectParsingError(
            f"there is no project {name!r} in {self.projects_folder}{suggestion(name, known)}; known: {listed(known)}"
        )

    def get_project(self, project_name: str | None = None) -> Project:
        """Return a project; see `get_project_data`."""
        return self.get_project_data(project_name).project

    def dump_project(self, project_data: ProjectData) -> None:
        """Write a project to its file, readable only by the owner because it may contain passwords."""
        fields = project_data.project.model_dump(
            mode="json", exclude_none=self.exclude_none, exclude_unset=self.exclude_unset
        )
        files.dump(Path(project_data.filepath), fields)

    def create_project(self, project: Project, ext: str = "yaml") -> None:
        """Write a new project to a new file and create its folders.

        Parameters
        ----------
        project
            The project.
        ext
            The format of the file: yaml, json or toml.

        Raises
        ------
        ConfigError
            The project or the file exists already, or the name or the format is not allowed.
        """
        if ext not in self.projects_ext:
            raise ConfigError(f"project files cannot have the format {ext!r}; allowed: {listed(self.projects_ext)}")
        filepath = self.projects_folder / f"{project.name}.{ext}"
        if project.name in self.projects_data or project.name in self.broken or filepath.exists():
            raise ConfigError(f"project {project.name!r} already exists in {self.projects_folder}; choose another name")
        try:
            self.projects_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (project.base_dir, project.tmp_dir, project.log_dir):
                Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be created: {error.strerror}; check its permissions") from None
        self._store(ProjectData(filepath, project, ext))

    def remove_project(self, project_name: str, remove_folders: bool = True) -> None:
        """Remove the file of a project and, by default, its base folder; do nothing if there is no such project.

        Raises
        ------
        ConfigError
            The base folder contains more than the project: it is, or contains, the home or the projects folder.
        """
        if project_name not in self.projects_data:
            return
        data = self.projects_data[project_name]
        base_dir = Path(data.project.base_dir).resolve()
        if remove_folders:
            if any(path.resolve().is_relative_to(base_dir) for path in (Path.home(), self.projects_folder)):
                raise ConfigError(f"{base_dir}: contains more than the project {project_name!r}; remove it by hand")
            shutil.rmtree(base_dir, ignore_errors=True)
        data.filepath.unlink(missing_ok=True)
        del self.projects_data[project_name]

    def update_project(self, config: dict[str, Any], project_name: str) -> None:
        """Merge `config` into a project, dictionary by dictionary, and write it.

        Raises
        ------
        ConfigError
            The result is not valid; nothing was changed.
        """
        old = self.get_project_data(project_name)
        project = self._validated(_merged(old.project.model_dump(mode="json"), config), old.filepath)
        if project.name != project_name and project.name in {*self.projects_data, *self.broken}:
            raise ConfigError(f"project {project.name!r} already exists in {self.projects_folder}; choose another name")
        self._store(old._replace(project=project))
        if project.name != project_name:
            del self.projects_data[project_name]

    def project_names_from_files(self, *, suppress_warnings: bool = False) -> tuple[list[str], list[str]]:
        """Return the project names in all files that can be parsed, valid or not, and the names of the other files."""
        names: list[str] = []
        erroneous: list[str] = []
        for path in self.project_files(self.projects_folder):
            try:
                raw = files.load(path)
            except ConfigError as error:
                erroneous.append(path.name)
                if not suppress_warnings:
                    logger.warning("a project file cannot be parsed: %s", error)
            else:
                names += [raw["name"]] if "name" in raw else []
        return names, erroneous

    def check_text(self, project_name: str, text: str) -> Project:
        """Return the project that a text in the place of the file of a project would be.

        Raises
        ------
        ConfigError
            The text is not that of a valid project, or its name is that of another one.
        """
        path = self.get_project_data(project_name).filepath
        project = self._validated(files.parse(path, text), path)
        if project.name in {*self.projects_data, *self.broken} - {project_name}:
            raise ConfigError(f"project {project.name!r} already exists in {self.projects_folder}; choose another name")
        return project

    def replace_text(self, project_name: str, text: str) -> None:
        """Replace the text of the file of a project, or raise a `ConfigError` as `check_text` does."""
        project = self.check_text(project_name, text)
        data = self.projects_data.pop(project_name)
        files.write_text(data.filepath, text)
        self.projects_data[project.name] = data._replace(project=project)

    def backup_project(self, project_name: str) -> Path:
        """Copy the file of a project to ``<file>.bak.<n>``, with the first free number, and return that path."""
        path = self.get_project_data(project_name).filepath
        number = 1
        while (backup := path.with_name(f"{path.name}.bak.{number}")).exists():
            number += 1
        shutil.copy2(path, backup)
        return backup

    def set_worker(
        self, name: str, worker: WorkerConfig, project_name: str | None = None, replace: bool = False
    ) -> None:
        """Add a worker to a project, or replace it if `replace` is given, and write the project."""
        data = self.get_project_data(project_name)
        if not replace and name in data.project.workers:
            raise ConfigError(
                f"project {data.project.name!r} already has a worker {name!r}; replace it or choose another name"
            )
        self._change(data, workers={**data.project.workers, name: worker})

    def remove_worker(self, worker_name: str, project_name: str | None = None) -> None:
        """Remove a worker from a project and write the project."""
        data = self.get_project_data(project_name)
        data.project.worker(worker_name)
        self._change(data, workers={key: item for key, item in data.project.workers.items() if key != worker_name})

    def get_worker(self, worker_name: str, project_name: str | None = None) -> WorkerConfig:
        """Return a worker of a project, or raise a `ConfigError` that lists the known workers."""
        return self.get_project(project_name).worker(worker_name)

    def set_queue_db(self, store: MongoStore, project_name: str | None = None) -> None:
        """Set the maggma store for the jobs of a project, and write the project."""
        data = self.get_project_data(project_name)
        self._change(data, queue={**data.project.queue.model_dump(), "store": store.as_dict()})

    def set_jobstore(self, jobstore: JobStore, project_name: str | None = None) -> None:
        """Set the JobStore for the outputs of a project, and write the project."""
        self._change(self.get_project_data(project_name), jobstore=jobstore.as_dict())

    def set_exec_config(
        self,
        exec_config_name: str,
        exec_config: ExecutionConfig,
        project_name: str | None = None,
        replace: bool = False,
    ) -> None:
        """Add an execution configuration to a project, or replace it if `replace` is given, and write the project."""
        data = self.get_project_data(project_name)
        if not replace and exec_config_name in data.project.exec_config:
            known = f"project {data.project.name!r} already has an exec_config {exec_config_name!r}"
            raise ConfigError(f"{known}; replace it or choose another name")
        self._change(data, exec_config={**data.project.exec_config, exec_config_name: exec_config})

    def remove_exec_config(self, exec_config_name: str, project_name: str | None = None) -> None:
        """Remove an execution configuration from a project, if it exists, and write the project."""
        data = self.get_project_data(project_name)
        known = data.project.exec_config
        self._change(data, exec_config={key: item for key, item in known.items() if key != exec_config_name})

    def get_exec_config(self, exec_config_name: str, project_name: str | None = None) -> ExecutionConfig:
        """Return an execution configuration of a project, or raise a `ConfigError` that lists the known names."""
        return self.get_project(project_name).get_exec_config(exec_config_name)

    @classmethod
    def project_files(cls, folder: Path) -> list[Path]:
        """Return the files in the projects folder that are read.

        Raises
        ------
        ConfigError
            The folder cannot be read.
        """
        try:
            return sorted(path for path in folder.iterdir() if path.suffix[1:] in cls.projects_ext)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(
                f"{folder}: the projects folder cannot be read: {error.strerror}; "
                "check its permissions or the environment variable JFREMOTE_PROJECTS_FOLDER"
            ) from None

    def _validated(self, fields: Mapping[str, Any], path: Path) -> Project:
        return files.validate(self.project_class, fields, path, {"projects_folder": self.projects_folder})

    def _change(self, data: ProjectData, **fields: Any) -> None:
        """Change some fields of a project, validate it as a whole and write it."""
        given = {name: getattr(data.project, name) for name in data.project.model_fields_set}
        self._store(data._replace(project=self._validated({**given, **fields}, data.filepath)))

    def _store(self, data: ProjectData) -> None:
        self.dump_project(data)
        self.projects_data[data.project.name] = data


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` updated with `new`; nested dictionaries are merged."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged
