"""A fingerprint of a project's configuration, to find masters that work with different ones."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: What may differ between machines: paths, addresses of one database, ways to log in, and levels of logs.
_OF_THE_MACHINE = frozenset(
    {
        *("base_dir", "tmp_dir", "log_dir", "daemon_dir", "log_level", "queue", "embedded_db"),
        *(
            "host",
            "port",
            "username",
            "password",
            "key_filename",
            "passphrase",
            "gateway",
            "work_dir",
            "connect_kwargs",
        ),
    }
)


def fingerprint(project: Project) -> str:
    """Return a hash of what all machines of a project have to agree on."""
    shared = _shared(project.model_dump(mode="json"))
    return hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shared(each) for key, each in value.items() if key not in _OF_THE_MACHINE}
    return [_shared(each) for each in value] if isinstance(value, list) else value
