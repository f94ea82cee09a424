"""The queue database: everything that jfr-mp knows about MongoDB is in here.

`QueueDatabase.connect(project)` opens it; the other modules are functions on it, one noun each.
"""

from __future__ import annotations

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.locks import MongoLock

__all__ = ["MongoLock", "QueueDatabase"]
