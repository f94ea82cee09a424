"""Settings and project files, validated and typed.

The files are those of jobflow-remote; the options that are specific to jfr-mp are in the project file under
``metadata.jfr_mp``. Reading and validating neither connects to a host or a database nor imports jobflow, maggma or
qtoolkit.
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
