"""Building the submission script of a job, without side effects.

The order is the same as in jobflow-remote: header of the scheduler, change of directory, pre_run, exports, modules, the
command, post_run. Text that the user writes for the shell (pre_run, post_run, execution_cmd) is used unchanged;
everything else (names, paths, values) is quoted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import starmap
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import jfr_mp
from jfr_mp.errors import ConfigError
from jfr_mp.hosts.quoting import export_line, is_plain, quote
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT
from jfr_mp.schedulers.dialects import dialect_of
from jfr_mp.schedulers.journal import journal_lines
from jfr_mp.schedulers.submission import once_lines

if TYPE_CHECKING:
    from qtoolkit.core.data_objects import QResources
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.config.workers import ExecutionConfig, WorkerBase
    from jfr_mp.model import JobDoc

#: A path that is valid in the header of every scheduler: Slurm expands %, and PBS and SGE expect a host before a colon.
_PLAIN_PATH = re.compile(r"[\w./+@=-]+", re.ASCII)


#: Finds the interpreter that runs a job and becomes it, or lets a warm server of it run the job.
_START = Path(jfr_mp.__file__).parent / "execution" / "warm" / "start.py"


def default_command(worker: WorkerBase, warm_dir: Path | None = None) -> list[str]:
    """Return the command that runs a job in ``{}`` if the worker sets no ``execution_cmd``.

    It is the ``jfr-mp`` on the PATH of the script, after ``pre_run`` and the exec_config. On this machine the Python
    environment of the runner is the fall-back.

    Parameters
    ----------
    worker
        The worker.
    warm_dir
        The directory with the sockets of warm servers; None starts each job cold.
    """
    if worker.is_local:
        return [sys.executable, "-I", "-S", str(_START), str(warm_dir or "-"), sys.executable, "run", "{}"]
    return ["jfr-mp", "execution", "run", "{}"]


def warm_template(worker: WorkerBase, warm_dir: Path) -> str:
    """Return the `default_command` of a worker as an ``execution_cmd``."""
    words = default_command(worker, warm_dir)
    return " ".join(word if word == "{}" else quote([word]).replace("{", "{{").replace("}", "}}") for word in words)


def execution_command(worker: WorkerBase, run_dir: str) -> str:
    """Return the shell line that runs the job in `run_dir`.

    Raises
    ------
    ConfigError
        The worker's ``execution_cmd`` contains braces other than one ``{}``.
    """
    if not worker.execution_cmd:
        return quote([run_dir if word == "{}" else word for word in default_command(worker)])
    # Quotes around {} in the project file are removed, because the path is quoted here.
    template = re.sub(r"'\{\}'|\"\{\}\"", "{}", worker.execution_cmd)
    try:
        return template.format(quote([run_dir]))
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"execution_cmd {worker.execution_cmd!r}: use one {{}}; other braces must be doubled, as in ${{{{HOME}}}}"
        ) from error


def exports_alone(job: JobDoc, worker: WorkerBase, exec_config: ExecutionConfig) -> dict[str, str] | None:
    """Return the variables that the script of a job exports; None if a shell has anything more to interpret in it."""
    exports = exec_config.export or {}
    texts = _texts(worker.pre_run, exec_config.pre_run, worker.post_run, exec_config.post_run, worker.execution_cmd)
    if texts or exec_config.modules or _resources(job, worker):
        return None
    return {name: str(value) for name, value in exports.items()} if all(starmap(is_plain, exports.items())) else None


def job_script(
    job: JobDoc,
    worker: WorkerBase,
    exec_config: ExecutionConfig,
    scheduler_io: BaseSchedulerIO,
    run_dir: str,
    submission: str,
) -> str:
    """Return the submission script of a job.

    Parameters
    ----------
    job
        The job; its resources take precedence over those of the worker.
    worker
        The worker on which it runs.
    exec_config
        The execution configuration.
    scheduler_io
        The scheduler, which provides the header.
    run_dir
        The run directory.
    submission
        The submission token of this run, for the journal and the name of the job.

    Raises
    ------
    ConfigError
        The resources do not suit the scheduler, or an export or the ``execution_cmd`` is not valid.
    """
    dialect = dialect_of(scheduler_io)
    lines = [
        *(once_lines(run_dir, submission, dialect.id_variable) if dialect.id_variable else ()),
        *journal_lines(worker.work_dir, f"{job.uuid}_{job.index}", submission),
        # Exits on failure, because pre_run would otherwise run in another directory.
        f"cd {quote([run_dir])} || exit 1",
        *_texts(worker.pre_run, exec_config.pre_run),
        *(export_line(name, value) for name, value in (exec_config.export or {}).items()),
        *(quote(["module", "load", *module.split()]) for module in exec_config.modules or []),
        execution_command(worker, run_dir),
        *_texts(worker.post_run, exec_config.post_run),
    ]
    resources = _with_names(_resources(job, worker), dialect.job_name(job.name, submission), run_dir)
    try:
        script = scheduler_io.get_submission_script(lines, resources)
    except Exception as error:  # qtoolkit raises ValueError and its own errors, plug-ins may raise any error
        raise ConfigError(f"the resources of job {job.name!r} do not suit its scheduler: {error}") from error
    return f"{script}\n"


def _texts(*texts: str | None) -> list[str]:
    """Return the texts that are not empty."""
    return [text for text in texts if text]


def _resources(job: JobDoc, worker: WorkerBase) -> dict[str, Any] | QResources:
    """Return the resources of the job or, if it has none, those of its worker."""
    resources = job.resources or worker.resources or {}
    if "@class" not in resources:
        return dict(resources)
    from monty.json import MontyDecoder

    decoded: dict[str, Any] | QResources = MontyDecoder().process_decoded(resources)
    return decoded


def _with_names(resources: dict[str, Any] | QResources, job_name: str, run_dir: str) -> dict[str, Any] | QResources:
    """Return the resources with the names of the job and of its output files added."""
    out, err = (_header_path(run_dir, file) for file in (QUEUE_OUT, QUEUE_ERR))
    if isinstance(resources, Mapping):
        return {**resources, "job_name": job_name, "qout_path": out, "qerr_path": err}
    return replace(resources, job_name=job_name, output_filepath=out, error_filepath=err)


def _header_path(run_dir: str, file: str) -> str:
    """Return the path of an output file for the header, in which nothing is quoted.

    If the path would need quotes, only the name is returned; the job is submitted in its run directory.
    """
    path = str(PurePosixPath(run_dir, file))
    return path if _PLAIN_PATH.fullmatch(path) else file
