"""What can be known of a project whose file cannot be used: where its running processes are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jfr_mp.config import files
from jfr_mp.config.manager import ConfigManager
from jfr_mp.config.project import Project, QueueConfig
from jfr_mp.errors import ConfigError

#: The fields that lead to the directory of the running processes.
_FIELDS = ("name", "base_dir", "daemon_dir")


def salvage(name: str | None = None) -> Project | None:
    """Return a project with a broken file as far as its running processes can be found: its name and directories.

    Parameters
    ----------
    name
        The project; None for the one in the settings, or the only one.

    Returns
    -------
    Project or None
        A project without workers and without a database, or None if no file is that of the project.
    """
    manager = ConfigManager()
    if name is None and len(manager.broken) == 1 and not manager.projects_data:
        (name,) = manager.broken
    wanted = name or manager.chosen
    paths = [path for path in manager.projects_folder.iterdir() if path.suffix[1:] in manager.projects_ext]
    for path in sorted(paths):
        found = {key: value for key, value in _fields(path).items() if key in _FIELDS and isinstance(value, str)}
        if found.setdefault("name", path.stem) == wanted:
            base_dir = found.get("base_dir") or str(manager.projects_folder / found["name"])
            daemon_dir = found.get("daemon_dir") or str(Path(base_dir, "daemon"))
            return Project.model_construct(
                name=found["name"], base_dir=base_dir, daemon_dir=daemon_dir, queue=QueueConfig(), metadata=None
            )
    return None


def _fields(path: Path) -> dict[str, Any]:
    """Return the fields of a file, or the top-level texts of one that cannot be parsed."""
    try:
        return files.load(path)
    except ConfigError:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        line = rf"""^({"|".join(_FIELDS)})\s*[:=]\s*["']?([^"'#\n]*[^"'#\s])"""
        return dict(re.findall(line, text, re.MULTILINE))
