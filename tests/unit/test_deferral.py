"""jobflow is imported without some packages, which are imported at their first use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jfr_mp.deferral import VARIABLE
from tests.support.processes import ROOT

HEAVY = ("boto3", "botocore", "paramiko", "sshtunnel")


def run(code: str, *paths: Path, **environment: str) -> list[str]:
    """Run code in an interpreter of its own and return the lines that it prints."""
    path = os.pathsep.join([f"{ROOT}/src", *map(str, paths)])
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


IMPORTING = f"""
import builtins, sys
before = builtins.__import__
from jfr_mp.deferral import deferred
with deferred():
    import jobflow
print(builtins.__import__ is before)
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def test_jobflow_is_imported_without_them_unless_the_user_wants_all() -> None:
    assert run(IMPORTING) == ["True", "[]"]
    assert "'boto3'" in run(IMPORTING, **{VARIABLE: "1"})[1]


IN_A_ROLE = """
import sys
from pathlib import Path
from jfr_mp.deferral import FOR_RUNNER, deferred
with deferred(FOR_RUNNER):
    import jobflow, jfr_mp.role_process
from maggma.stores import MongoStore
from jfr_mp.jobdata.file_formats import read_documents
from jfr_mp.jobdata.inputs import input_document
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.model import JobDoc

jobstore = jobflow.JobStore(MongoStore("db", "outputs"))
files = transfer_store(jobstore, ".", None)
job = {"uuid": "u", "index": 1, "function_args": [1, {"a": 2.5}]}
document = JobDoc(job=job, uuid="u", index=1, db_id="1", worker="w", state="CHECKED_OUT")
assert b'"a":2.5' in input_document(job, files, document)
Path(files.docs_store.paths[0]).write_text('[{"uuid": "u", "index": 1, "output": [1, 2.5]}]')
print(read_documents(files.docs_store))
print(sorted({"mongomock", "mongomock_ng", "numpy"} & set(sys.modules)))
"""


def test_plain_input_and_output_need_no_numpy_in_a_role_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(IN_A_ROLE) == ["[{'uuid': 'u', 'index': 1, 'output': [1, 2.5]}]", "[]"]


MODULES = {
    "calls": "import heavy\nfrom heavy.part import Client\ndef use(): return [heavy.VALUE, Client(7).number]\n",
    "catches": "from heavy.part import Client, Trouble\ndef use():\n  try: Client(-1)\n  except Trouble: return 1\n",
    "patched": "import heavy\ndef use():\n  heavy.VALUE = 4\n  import heavy as real\n  return real.VALUE\n",
    "annotates": "import heavy\ndef use(client: heavy.Client = None) -> 'heavy.X': return heavy.VALUE\n",
    "unites": "from heavy import Client\ndef use(a: Client | None = 0, b: int | Client = 1): return Client().x\n",
    "combines": "import heavy\nBOTH = heavy.VALUE | 4\ndef use(): return BOTH\n",
    "inherits": "import heavy.part\nclass Own(heavy.part.Client): pass\ndef use(): return Own(3).number\n",
    "computes": "import heavy\nVALUE = heavy.VALUE + 1\ndef use(): return VALUE\n",
    "is made": "from heavy.part import Client\nCLIENT = Client(9)\ndef use(): return CLIENT.number\n",
    "lacks": "try:\n    import missing\nexcept ImportError:\n    missing = None\ndef use(): return missing\n",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("calls", "[3, 7] early False"),
        ("catches", "1 early False"),
        ("patched", "4 early False"),
        ("annotates", "3 early False"),
        ("unites", "5 early False"),
        ("combines", "7 early True"),
        ("inherits", "3 early True"),
        ("computes", "4 early True"),
        ("is made", "9 early True"),
        ("lacks", "None early False"),
    ],
)
def test_a_module_works_whatever_it_does_with_a_package(tmp_path: Path, name: str, expected: str) -> None:
    # Given a module for which a package is deferred
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("VALUE = 3\nclass Client: x = 5\n")
    (tmp_path / "heavy" / "part.py").write_text(
        "class Trouble(Exception): pass\n"
        "class Client:\n"
        "    def __init__(self, number):\n"
        "        if number < 0: raise Trouble\n"
        "        self.number = number\n"
    )
    (tmp_path / "importer.py").write_text(MODULES[name])

    # When it is imported, and then used
    code = (
        "import sys\n"
        "from jfr_mp import deferral\n"
        "with deferral.deferred({'importer': {'heavy', 'missing'}}):\n"
        "    import importer\n"
        "early = 'heavy' in sys.modules\n"
        "print(importer.use(), 'early', early)\n"
    )

    # Then it does what it does without, and only a use at its import has the package imported at once
    assert run(code, tmp_path) == [expected]


IN_A_HELP = """
import sys
from jfr_mp.cli import main
sys.argv = ["jfr-mp", *sys.argv[1:], "--help"]
try:
    main()
except SystemExit:
    print(sorted({"rich.markdown", "rich.traceback", "pymongo"} & set(sys.modules)))
"""


def test_a_help_does_without_markdown_and_tracebacks() -> None:
    shown = run(IN_A_HELP, COLUMNS="80")
    assert shown[-1] == "[]"
    assert any("start" in line for line in shown)


def test_one_module_of_a_package_is_deferred_and_used() -> None:
    code = (
        "import sys\n"
        "from jfr_mp.deferral import FOR_HELP, deferred\n"
        "with deferred(FOR_HELP):\n"
        "    import typer.rich_utils\n"
        "early = 'rich.markdown' in sys.modules\n"
        "text = typer.rich_utils._make_rich_text(text='*a*', style='', markup_mode='markdown')\n"
        "print(early, type(text).__name__, typer.rich_utils.Markdown is type(text))\n"
    )
    assert run(code) == ["False Markdown True"]
