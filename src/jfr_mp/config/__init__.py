"""Settings and project files: what the user wrote, checked and typed.

The files are jobflow-remote's; options of our own live in a project under ``metadata.jfr_mp``. Reading and checking
opens no host and no database and imports neither jobflow, maggma nor qtoolkit.
"""

from jfr_mp.config.manager import ConfigManager, ProjectData
from jfr_mp.config.options import EmbeddedDb, JfrMpOptions
from jfr_mp.config.project import Project, QueueConfig, RunnerOptions
from jfr_mp.config.settings import LogLevel, Settings, get_settings
from jfr_mp.config.workers import (
    BatchConfig,
    ConnectionData,
    ExecutionConfig,
    LocalWorker,
    RemoteWorker,
    SeparatedTransferWorker,
    WorkerBase,
    WorkerConfig,
)

__all__ = [
    "BatchConfig",
    "ConfigManager",
    "ConnectionData",
    "EmbeddedDb",
    "ExecutionConfig",
    "JfrMpOptions",
    "LocalWorker",
    "LogLevel",
    "Project",
    "ProjectData",
    "QueueConfig",
    "RemoteWorker",
    "RunnerOptions",
    "SeparatedTransferWorker",
    "Settings",
    "WorkerBase",
    "WorkerConfig",
    "get_settings",
]
