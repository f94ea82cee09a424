"""Configuration of the documentation; build it with ``tox -e docs``, or ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "jfr-mp"
author = "the jfr-mp developers"
release = version = installed_version("jfr-mp")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    # In docs/_ext: {state-table}, {state-diagram}, {option-table}, {command-table} and {command-reference} show what
    # the code says, so that they cannot drift.
    "generated",
    "generated_commands",
]

source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "jfr-mp"
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
