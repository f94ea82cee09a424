"""Importing modules without the packages that they hardly ever use.

Importing jobflow imports all stores of maggma, and these import clients for S3 and SSH, boto3 and paramiko, which takes
a quarter of the time of the worker command and of the memory of a role process. The runner needs no numpy and no
database in memory either, unless a job's data or a store of the project asks for one; jobs use both. The help of a
command is written with a module that imports a parser of Markdown. Within `deferred`, the modules that are listed here
get a stand-in for each of these packages. Its first use imports the package and puts it in the place of the stand-in.

Only import statements of the listed modules are answered with stand-ins, so nothing else can see one: `sys.modules`
has none, and a job that imports boto3 itself gets boto3. If a listed module uses a package while it is being imported,
it is imported again without stand-ins. Setting JFR_MP_IMPORT_ALL to 1 in the environment of a job turns this off.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import UnionType
from typing import Any

VARIABLE = "JFR_MP_IMPORT_ALL"
#: Held by the thread that changes how import statements are executed.
_changing = threading.RLock()

#: For each module, packages and modules that it uses in some of its functions only.
Deferrals = Mapping[str, frozenset[str]]

#: For the worker command and its jobs.
FOR_JOBS: Deferrals = {
    "maggma.stores.aws": frozenset({"boto3", "botocore"}),
    "maggma.stores.ssh_tunnel": frozenset({"paramiko", "sshtunnel"}),
}
#: For role processes and commands.
FOR_RUNNER: Deferrals = {
    **FOR_JOBS,
    "maggma.stores.mongolike": frozenset({"mongomock", "mongomock_ng"}),
    "maggma.stores.open_data": frozenset({"numpy"}),
    "monty.json": frozenset({"numpy"}),
}
#: For the help of a command. Hardly any is written in Markdown, and none is a traceback.
FOR_HELP: Deferrals = {"typer.rich_utils": frozenset({"rich.markdown", "rich.traceback"})}
#: What the packages of `FOR_JOBS` import of Python's own. A job may use such a module by its package, as in
#: ``urllib.request``, without importing it.
_SUBMODULES = (
    "html.parser",
    "http.client",
    "multiprocessing.managers",
    "multiprocessing.pool",
    "urllib.request",
    "xml.etree.ElementTree",
)


class StandIn:
    """Stands for a package, or for a name in it, in the module that has imported it.

    Parameters
    ----------
    importer
        The name of that module.
    module
        The name of the package or of one of its modules.
    attribute
        A name in it; None for the module itself.
    """

    __slots__ = ("_attribute", "_importer", "_module")

    def __init__(self, importer: str, module: str, attribute: str | None = None) -> None:
        for name, value in (("_importer", importer), ("_module", module), ("_attribute", attribute)):
            object.__setattr__(self, name, value)

    def resolve(self) -> Any:
        """Import what it stands for and return it."""
        module = import_module(self._module)
        return getattr(module, self._attribute) if self._attribute else module

    def _replaced(self) -> Any:
        """Return what it stands for, after replacing all stand-ins in the importing module."""
        names = vars(sys.modules[self._importer])
        for name, value in tuple(names.items()):
            if isinstance(value, StandIn):
                names[name] = value.resolve()
        return self.resolve()

    def __getattr__(self, name: str) -> Any:
        if not _is_being_imported(self._importer):
            return getattr(self._replaced(), name)
        if self._attribute is None and not name.startswith("__"):
            return StandIn(self._importer, self._module, name)
        raise AttributeError(f"{self._module}.{name} is used while {self._importer} is being imported")

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._replaced(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._replaced(), name)

    def __or__(self, other: object) -> StandIn:
        """Return what stands for the union of two types in an annotation."""
        return self if isinstance(other, type | UnionType | None) else NotImplemented

    __ror__ = __or__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for."""
        if _is_being_imported(self._importer):
            raise TypeError(f"{self._module} is called while {self._importer} is being imported")
        return self._replaced()(*args, **kwargs)


def _is_being_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return getattr(spec, "_initializing", False)


@contextmanager
def deferred(deferrals: Deferrals = FOR_JOBS) -> Iterator[None]:
    """Within it, this thread imports the listed modules without the packages that they may not need."""
    if os.environ.get(VARIABLE) == "1" or sys.modules.keys() >= deferrals.keys():
        yield
        return
    with _changing, _importing_without(deferrals):
        yield
    for name in _SUBMODULES if deferrals.keys() >= FOR_JOBS.keys() else ():
        import_module(name)


@contextmanager
def _importing_without(deferrals: Deferrals) -> Iterator[None]:
    original, thread = builtins.__import__, threading.get_ident()
    eager: set[str] = set()

    def importing(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if threading.get_ident() != thread:
            return original(name, globals, locals, fromlist or (), level)
        importer = str((globals or {}).get("__name__"))
        listed = deferrals.get(importer, ()) if level == 0 and importer not in eager else ()
        package = name if fromlist and name in listed else name.partition(".")[0]
        if package in listed and package not in sys.modules and find_spec(package):
            return StandIn(importer, name if fromlist else package)
        try:
            return original(name, globals, locals, fromlist or (), level)
        except Exception:  # a module that looks into a stand-in while it is imported can raise anything
            if name not in deferrals or name in eager or name in sys.modules:
                raise
            eager.add(name)
            return original(name, globals, locals, fromlist or (), level)

    builtins.__import__ = importing
    try:
        yield
    finally:
        builtins.__import__ = original
