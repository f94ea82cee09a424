"""The JobStores of a project, kept open if that is safe."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from jfr_mp.database.address import address_of
from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.transfer_stores import additional_stores, parts_of

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.config import Project

logger = logging.getLogger(__name__)


class JobStores:
    """Provide the connected JobStores of a project.

    Stores on a database server stay open, because connecting takes longer than reading. Stores in files or in memory
    are opened for each use: several processes share them, and an open copy would become stale.

    Parameters
    ----------
    project
        The project whose stores these are.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._open: dict[str | None, JobStore] = {}
        self._opening = threading.Lock()

    @contextmanager
    def named(self, name: str | None = None) -> Iterator[JobStore]:
        """Yield an optional JobStore of the project, connected; None for the default one."""
        with self._opening:
            store = self._open.get(name)
            if store is None:
                store = self._project.get_jobstore(name)
                for part in parts_of(store):
                    _watch_rarely(part)
                _connect(store, f"optional_jobstores.{name}" if name else "jobstore")
                if _is_served(store):
                    self._open[name] = store
        try:
            yield store
        finally:
            if name not in self._open:
                _close(store)

    def warm_up(self) -> None:
        """Import jobflow and open the default JobStore before the first job needs them.

        A store on a server gets an index for outputs, if it lacks one. On a store with many outputs that takes a while;
        nothing waits for it.
        """
        with self.named() as store:
            if _is_served(store):
                threading.Thread(target=_index_outputs, args=(store,), name="index of outputs", daemon=True).start()

    def close(self) -> None:
        """Close every store that is open."""
        while self._open:
            name, store = self._open.popitem()
            logger.debug("closing the JobStore %s", name or "(default)")
            _close(store)


def _watch_rarely(store: Any) -> None:
    """Have the client of a store on this machine ask its server as rarely as that of the queue whether it is there."""
    options = getattr(store, "mongoclient_kwargs", None)
    if options is None or getattr(store, "ssh_tunnel", None) is not None:
        return
    place = {name: getattr(store, name, None) for name in ("uri", "host", "port", "database", "collection_name")}
    with suppress(ConfigError):  # connecting says it
        store.mongoclient_kwargs = {**address_of(place).monitoring, **options}


def _connect(store: Any, field: str) -> None:
    """Connect a store; arguments that its class accepted but cannot use are an error of the project file."""
    try:
        store.connect()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{field} cannot be opened: {type(error).__name__}: {error}; correct the project file"
        ) from error


def _index_outputs(store: JobStore) -> None:
    """Let an output be found without reading all of them; without the permission to do so, all are read."""
    try:
        store.docs_store.ensure_index("uuid")
        for part in additional_stores(store).values():
            part.ensure_index("blob_uuid")
    except Exception as error:  # noqa: BLE001 - nothing depends on it, and each kind of store raises its own errors
        logger.warning("the outputs in the JobStore have no index, which makes large stores slow: %s", error)


def _close(store: Any) -> None:
    """Close a store; jobflow leaves the method untyped."""
    store.close()


def _is_served(store: JobStore) -> bool:
    """Return whether all parts of a JobStore are on a server, so that an open connection is never stale."""
    from maggma.stores import GridFSStore, MemoryStore, MongoStore

    return all(
        isinstance(part, MongoStore | GridFSStore) and not isinstance(part, MemoryStore) for part in parts_of(store)
    )
