"""The managed mongod of a project without its own MongoDB server."""

from __future__ import annotations

from jfr_mp.embedded.server import EmbeddedMongo, EmbeddedStatus, ensure_running
from jfr_mp.embedded.stores import ManagedStores, create

__all__ = ["EmbeddedMongo", "EmbeddedStatus", "ManagedStores", "create", "ensure_running"]
