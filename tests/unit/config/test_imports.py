from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from jfr_mp.config import ConfigManager
assert set(ConfigManager().projects) >= {"everything", "serialized"}
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_reading_projects_imports_nothing_heavy(folder: Path) -> None:
    # Given projects with every kind of worker and store
    for path in (Path(__file__).parent / "projects").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())

    # When a fresh process reads them
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    # Then it has needed none of the packages that take long to import
    heavy = {"jobflow", "maggma", "monty", "numpy", "paramiko", "pymongo", "qtoolkit", "tomlkit", "typer", "zmq"}
    assert heavy & set(result.stdout.split()) == set()
