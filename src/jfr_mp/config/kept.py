"""A project that is read once for several processes, and again only if a file that it comes from has changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jfr_mp.config.manager import ConfigManager
from jfr_mp.config.project import Project
from jfr_mp.config.settings import get_settings

#: The files that a project comes from, each with its inode, its size in bytes and the time of its last change in ns.
Files = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class KeptProject:
    """A project as its files gave it.

    A process that is forked after the project was read shares the memory of it, and of what reading it takes.

    Parameters
    ----------
    project
        The project.
    settings_file, folder
        Where it was found.
    files
        What was there when it was read.
    """

    project: Project
    settings_file: Path
    folder: Path
    files: Files

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a project.

        Raises
        ------
        ConfigError
            The project does not exist, or a file is not valid.
        """
        settings = get_settings()
        # Before they are read, so that a change meanwhile is noticed.
        files = _files(settings.config_file, settings.projects_folder)
        return cls(ConfigManager().get_project(name), settings.config_file, settings.projects_folder, files)

    def current(self) -> Project:
        """Return the project as it is now.

        Raises
        ------
        ConfigError
            The files have changed, and the project cannot be read any more.
        """
        if _files(self.settings_file, self.folder) == self.files:
            return self.project
        return ConfigManager().get_project(self.project.name)


def _files(settings_file: Path, folder: Path) -> Files:
    found = []
    for path in (settings_file, *ConfigManager.project_files(folder)):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
