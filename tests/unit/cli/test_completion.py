"""What the shell offers on Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PROJECT = """\
name: {name}
workers:
  near: {{type: local, scheduler_type: shell, work_dir: /tmp}}
  far: {{type: local, scheduler_type: shell, work_dir: /tmp}}
exec_config: {{gpu: {{}}}}
queue: {{store: {{type: MongoStore, host: 127.0.0.1, port: 1, database: d, collection_name: jobs}}}}
jobstore: {{docs_store: {{type: MongoStore, host: 127.0.0.1, port: 1, database: d, collection_name: outputs}}}}
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A user with two projects, whose database is down."""
    for name in ("main", "other"):
        (tmp_path / f"{name}.yaml").write_text(_PROJECT.format(name=name))
    env = {key: value for key, value in os.environ.items() if not key.startswith("JFREMOTE_")}
    return {**env, "JFREMOTE_PROJECTS_FOLDER": str(tmp_path), "JFREMOTE_CONFIG_FILE": str(tmp_path / "none")}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("-p ", {"main", "other"}),
        ("job list -p o", {"other"}),
        ("project remove m", {"main"}),
        ("-p main submit --worker ", {"near", "far"}),
        ("job list -p main -wk n", {"near"}),
        ("-p main submit -ec ", {"gpu"}),
        ("job list -s REM", {"REMOTE_ERROR"}),
        ("flow list -s COMP", {"COMPLETED"}),
        ("logs tr", {"transfer"}),
        # Nothing is offered without a project, or if the database is down
        ("submit --worker ", set()),
        ("-p main job info ", set()),
    ],
)
def test_what_is_offered(line: str, offered: set[str], env: dict[str, Any]) -> None:
    # When the user presses Tab in bash
    words = f"jfr-mp {line}"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'jfr-mp'; from jfr_mp.cli import main; sys.exit(main())"],
        env={**env, "_JFR_MP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # Then these words are offered, and nothing is said in the middle of the line
    assert set(done.stdout.split()) == offered
    assert done.stderr == ""
