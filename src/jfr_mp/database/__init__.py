"""The queue database: everything in jfr-mp that depends on MongoDB.

`QueueDatabase.connect(project)` opens the database; the other modules contain the functions that work on it, one module
per subject.
"""

from __future__ import annotations

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.locks import MongoLock

__all__ = ["MongoLock", "QueueDatabase"]
