from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobflow import Flow

from jfr_mp.cli.flows.flow_loading import Target, function_names, jobs_out_of_reach, load_flow, parse_target
from jfr_mp.errors import SubmissionError

FILE = """
from jobflow import Flow, job

import beside_a_flow

print("reading")

@job
def add(a, b):
    return a + b

flow = Flow([add(1, 2)], name="sum")
jobs = [add(1, 2), add(3, 4)]
number = beside_a_flow.NUMBER

class makers:
    @staticmethod
    def make():
        return add(1, number)

def fail():
    raise ValueError("no structure")

def leave():
    raise SystemExit(3)
"""


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """Let every test import its files anew."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("a_flow", "beside_a_flow")):
            del sys.modules[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside_a_flow.py").write_text("NUMBER = 5\n")
    path = tmp_path / "a_flow.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flow.py", ("flow.py", "flow")),
        ("/a/b c/flow.py", ("/a/b c/flow.py", "flow")),
        ("flow.py:make", ("flow.py", "make")),
        ("package.flows:relax", ("package.flows", "relax")),
        ("package.flows:Maker.make", ("package.flows", "Maker.make")),
        ("package.flows", ("package.flows", "flow")),
    ],
)
def test_a_target_is_a_source_and_a_name(text: str, expected: tuple[str, str]) -> None:
    assert parse_target(text) == expected


def test_a_file_gives_its_flow(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # When it is read
    flow = load_flow(parse_target(str(file)))

    # Then its own prints are kept out of stdout, and the path is as it was
    assert isinstance(flow, Flow)
    assert flow.name == "sum"
    assert capsys.readouterr() == ("", "reading\n")
    assert str(file.parent) not in sys.path


@pytest.mark.parametrize("name", ["makers.make", "jobs"])
def test_functions_and_lists_of_jobs_will_do(file: Path, name: str) -> None:
    assert load_flow(Target(str(file), name))


def test_a_module_is_found_in_the_current_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)

    flow = load_flow(parse_target("a_flow:flow"))
    assert isinstance(flow, Flow)
    assert flow.name == "sum"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nothing", "defines no 'nothing'"),
        ("number", "number of .* is 'int', not a jobflow Flow"),
        ("fail", r"(?s)fail\(\) of .* raised ValueError: no structure.*a_flow.py\", line \d+, in fail"),
        ("leave", "raised SystemExit: 3"),
    ],
)
def test_a_wrong_name_or_function_is_explained(file: Path, name: str, complaint: str) -> None:
    with pytest.raises(SubmissionError, match=complaint) as raised:
        load_flow(Target(str(file), name))

    # Then no line of ours is in the traceback
    assert "loading.py" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("def (", "is not valid Python:\n.*line 1"),
        ("1 / 0", "raised ZeroDivisionError: division by zero\n.*a_flow_bad.py"),
        ("import not_there_at_all", "raised ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "a_flow_bad.py"
    path.write_text(content)

    with pytest.raises(SubmissionError, match=complaint):
        load_flow(parse_target(str(path)))


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("nowhere.py", "the file nowhere.py does not exist"),
        ("not_there.at_all:flow", "there is no module 'not_there.at_all'"),
    ],
)
def test_what_is_not_there_is_named(target: str, complaint: str) -> None:
    with pytest.raises(SubmissionError, match=complaint):
        load_flow(parse_target(target))


def test_a_file_does_not_take_the_place_of_a_module(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text("flow = None\n")

    with pytest.raises(SubmissionError, match="rename the file"):
        load_flow(parse_target(str(path)))


def test_functions_that_a_worker_cannot_import_are_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a flow whose function is found only because its file was named
    flow = load_flow(parse_target(str(file)))
    assert function_names(jobs_out_of_reach(flow)) == ["a_flow.add"]

    # When its directory is on the path, as on the path of a worker
    monkeypatch.setattr(sys, "path", [*sys.path, str(file.parent)])

    # Then it is within reach
    assert function_names(jobs_out_of_reach(flow)) == []
