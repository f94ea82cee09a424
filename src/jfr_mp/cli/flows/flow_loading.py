"""Loading the flow that a user submits: from a Python file or from a module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from jfr_mp.deferral import FOR_RUNNER, deferred
from jfr_mp.errors import SubmissionError

if TYPE_CHECKING:
    from jobflow import Flow, Job

#: The variable that is read if the user names none.
DEFAULT_NAME = "flow"


class Target(NamedTuple):
    """Where a flow is.

    Parameters
    ----------
    source
        A file that ends in .py, or the name of a module.
    name
        A variable in it, or an attribute of one in dotted form.
    """

    source: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether `source` is a file."""
        return self.source.endswith(".py")

    @property
    def home(self) -> Path:
        """The directory from which its imports work: that of the file, or for a module the current one."""
        return Path(self.source).resolve().parent if self.is_file else Path.cwd()


def parse_target(text: str) -> Target:
    """Read ``FILE.py``, ``FILE.py:NAME``, ``module`` or ``module:NAME``."""
    if text.endswith(".py"):
        return Target(text, DEFAULT_NAME)
    source, colon, name = text.rpartition(":")
    return Target(source, name) if colon else Target(text, DEFAULT_NAME)


def load_flow(target: Target) -> Flow | Job | list[Job]:
    """Import the file or module and return the value of `name`; a callable is called without arguments.

    What the user's code prints goes to standard error: standard output is for the result of the command.

    Raises
    ------
    SubmissionError
        There is no such file or module, it raises, it has no such name, or the value is not a flow. For an error of the
        user's code, the message has the traceback of that code only.
    """
    # Before the user's code, which would import all of it.
    with deferred(FOR_RUNNER):
        from jobflow import Flow, Job

    with redirect_stdout(sys.stderr), _on_path(target.home):
        with _explained(target.source):
            module = _import_file(Path(target.source)) if target.is_file else _import_module(target.source)
        value = _look_up(module, target)
        if callable(value) and not isinstance(value, Flow | Job):
            with _explained(f"{target.name}() of {target.source}"):
                value = value()
    if isinstance(value, Flow | Job):
        return value
    if isinstance(value, list) and value and all(isinstance(item, Flow | Job) for item in value):
        return value
    raise SubmissionError(
        f"{target.name} of {target.source} is {type(value).__name__!r}, not a jobflow Flow or Job, a list of jobs, "
        "or a function without arguments that returns one"
    )


def jobs_out_of_reach(flow: Flow | Job | list[Job]) -> list[Job]:
    """Return the jobs whose function a worker can probably not import.

    A worker imports the function of a job by the name of its module. A module that is found here only because it is
    beside the submitted file, or in the current directory, is not found on the worker.
    """
    with _without_script_directory():
        return [job for job in _jobs(flow) if not _is_importable(job.function.__module__.partition(".")[0])]


def function_names(jobs: Iterable[Job]) -> list[str]:
    """Return the functions of jobs, as ``module.function``."""
    return sorted({f"{job.function.__module__}.{job.function.__name__}" for job in jobs})


def _jobs(flow: Any) -> Iterator[Job]:
    """Return the jobs of a flow, with those of its inner flows, or of a list."""
    for item in flow if isinstance(flow, list) else getattr(flow, "jobs", [flow]):
        yield from _jobs(item) if hasattr(item, "jobs") else [item]


def _import_file(path: Path) -> ModuleType:
    """Import a file under its name as a module, by which jobs refer to its functions."""
    if not path.is_file():
        raise SubmissionError(f"the file {path} does not exist")
    path = path.resolve()
    known = getattr(sys.modules.get(path.stem), "__file__", str(path))
    if known != str(path) or path.stem in sys.stdlib_module_names:
        raise SubmissionError(f"{path} has the name of another Python module, {path.stem}: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SubmissionError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    """Import a module as `python -m` would find it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise SubmissionError(
            f"there is no module {name!r}: use FILE.py, or module:callable with a module that Python can import here"
        ) from None


def _look_up(module: ModuleType, target: Target) -> Any:
    value: Any = module
    for part in target.name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise SubmissionError(
                f"{target.source} defines no {target.name!r}: assign the flow to a variable of that name, "
                f"or name another variable, as in {target.source}:NAME"
            ) from None
    return value


@contextmanager
def _on_path(directory: Path) -> Iterator[None]:
    """Let the user's code import what lies in a directory, as Python does for a script."""
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))


@contextmanager
def _without_script_directory() -> Iterator[None]:
    """Remove the first entry of the path: the directory of the program, or the current one."""
    first = sys.path.pop(0)
    try:
        yield
    finally:
        sys.path.insert(0, first)


def _is_importable(package: str) -> bool:
    """Return whether an import would find a package, also in an editable installation."""
    return any(finder.find_spec(package, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into an error that shows the traceback of that code."""
    try:
        yield
    except SubmissionError:
        raise
    except SyntaxError as error:
        text = "".join(traceback.format_exception_only(error)).rstrip()
        raise SubmissionError(f"{what} is not valid Python:\n{text}") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise SubmissionError(f"{what} raised {_their_traceback(error)}") from error


def _their_traceback(error: BaseException) -> str:
    """Return type and text of an error, and its traceback without the frames of this module and of importlib."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    summary = "".join(traceback.format_exception_only(error)).strip()
    return f"{summary}\n{''.join(traceback.format_list(frames))}".rstrip()
