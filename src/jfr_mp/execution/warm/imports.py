"""What a warm server has imported: for all jobs, and learned from them; and whether that is still current."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from jfr_mp.deferral import FOR_JOBS, Deferrals, deferred

#: What nearly every job imports.
MODULES = (
    "jobflow",
    "monty.json",
    "monty.serialization",
    "orjson",
    "jfr_mp.execution.run",
    "jfr_mp.jobdata.transfer_stores",
    "jfr_mp.jobdata.file_formats",
    "jfr_mp.model",
)


class Unsafe(Exception):
    """A process that has imported these modules cannot be forked for several jobs; the text says why."""


def preload(modules: Iterable[str] = MODULES, deferrals: Deferrals = FOR_JOBS) -> None:
    """Import modules, without the packages that may not be needed; then leave no thread behind.

    Libraries for linear algebra start threads when they are imported, and end them before a fork to start them again
    when they are needed. One fork lets them do so.
    """
    with deferred(deferrals):
        for name in modules:
            import_module(name)
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    if (threads := count_threads()) != 1:
        raise Unsafe(f"{threads} threads run in it")


def learn(modules: Iterable[str]) -> None:
    """Import what a job has imported.

    Raises
    ------
    Unsafe
        An import has left something that no two jobs may share: a thread, an open file, or a generator of random
        numbers, which would give each job the same ones.
    """
    known, files = set(sys.modules), set(_open_files())
    preload(modules)
    if opened := set(_open_files()) - files:
        raise Unsafe(f"an import opened {', '.join(sorted(opened))}")
    for name in set(sys.modules) - known:
        if generator := _generator_in(sys.modules[name]):
            raise Unsafe(f"{name} has a generator of random numbers, {generator}")


def count_threads() -> int:
    """Return the number of threads of this process, whatever language started them."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - looked at before every job


def new_modules(known: Iterable[str]) -> list[str]:
    """Return the modules that can be imported by their names and that were not known, in the order of their import."""
    before = set(known)
    return [name for name, module in tuple(sys.modules.items()) if name not in before and _can_be_imported(module)]


def _can_be_imported(module: object) -> bool:
    spec = getattr(module, "__spec__", None)
    return isinstance(module, ModuleType) and spec is not None and spec.origin not in (None, "built-in", "frozen")


def _open_files() -> Iterator[str]:
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)  # noqa: PTH115 - likewise
        except OSError:
            continue
        if not target.startswith("/proc/"):
            yield target


def _generator_in(module: ModuleType) -> str | None:
    """Return the name of a generator of random numbers that a module keeps, itself or in one of its classes."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    shared = {id(getattr(numpy.random.mtrand, "_rand", None))} if numpy else set()
    kinds: tuple[type, ...] = (random.Random,)
    if numpy:
        kinds += (numpy.random.Generator, numpy.random.RandomState, numpy.random.BitGenerator)
    if torch:
        kinds += (torch.Generator,)
    for name, value in tuple(vars(module).items()):
        inner = tuple(vars(value).items()) if isinstance(value, type) and value.__module__ == module.__name__ else ()
        for path, found in ((name, value), *((f"{name}.{key}", each) for key, each in inner)):
            if isinstance(found, kinds) and id(found) not in shared and not _is_of_standard_library(module):
                return path
    return None


def _is_of_standard_library(module: ModuleType) -> bool:
    """Return whether a module is Python's own: `random` itself is seeded again, the others know about forks."""
    return module.__name__.partition(".")[0] in sys.stdlib_module_names


class Imported:
    """The files of the imported modules, and the directories from which modules are imported, as they are now."""

    def __init__(self) -> None:
        files = {getattr(module, "__file__", None) for module in tuple(sys.modules.values())}
        paths = [path for path in (*files, *map(str, _metadata_dirs())) if path]
        self._seen = {path: stamp for path in paths if (stamp := _stamp(path)) is not None}

    def changed(self) -> str | None:
        """Return a path that is not as it was, or None."""
        return next((path for path, stamp in self._seen.items() if _stamp(path) != stamp), None)


def _metadata_dirs() -> Iterator[Path]:
    """Yield the directories that change when a package is installed or removed."""
    for path in sys.path:
        if path.endswith(("site-packages", "dist-packages")):
            yield Path(path)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a thousand of them before a job starts
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
