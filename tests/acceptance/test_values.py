"""Values arrive as `run_locally` gives them, and a reference that leads to nothing is one clear failure."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore

from tests.support import jobs
from tests.support.user import Submitted, User

pytestmark = pytest.mark.timeout(300)

#: How flows are written, for `User.submit` and for this process.
SETUP = "odd = odd_values(); odd.name = 'first'"
FLOWS = {
    "inputs": "Flow([describe(ODD_VALUES, ODD_VALUES['nan'], [ODD_VALUES['time in a zone']])])",
    "outputs": "Flow([odd, describe(odd.output), describe(odd.output['nan'], odd.output['array'][0])])",
    "inputs of jobs that a job returned": "Flow([replace_with_description(ODD_VALUES)])",
    "references beside their values": "Flow([odd, describe_reference(odd.output['infinity'][1])])",
}


def run_here(expression: str) -> list[str]:
    """Return the outputs of a flow that `run_locally` runs, apart from the odd values themselves and references."""
    names = {**vars(jobs), "Flow": Flow}
    exec(SETUP, names)
    flow = eval(expression, names)
    store: Any = JobStore(MemoryStore())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_locally(flow, store=store, log=False, ensure_success=True)
    return sorted(document["output"] for document in store.query() if isinstance(document["output"], str))


def test_values_arrive_as_they_are_given(busy: User) -> None:
    # Given flows whose values JSON cannot express
    flows = {name: busy.submit(expression, setup=SETUP) for name, expression in FLOWS.items()}
    for name, flow in flows.items():
        # When they have run
        flow.wait_for("COMPLETED")
        # Then each job received what it receives from run_locally
        outputs = [output for output in flow.outputs if isinstance(output, str)]
        assert sorted(outputs) == run_here(FLOWS[name]), name


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("odd.output['nan'][-1]", ['output["nan"][-1]', "'first'", 'output["nan"] is of type float']),
        ("odd.output['infinity'][7]", ['output["infinity"][7]', "list of length 2"]),
        ("odd.output['infinite']", ['output["infinite"]', "keys 'nan', 'infinity'"]),
    ],
)
def test_a_reference_that_leads_to_nothing(busy: User, reference: str, says: list[str]) -> None:
    # When a flow refers to a part of an output that does not exist
    flow = busy.submit(f"Flow([odd, add({reference}, 1)])", setup=SETUP)
    job = flow.wait_for_job("REMOTE_ERROR", number=1)
    # Then the job fails at once, and the reference, the parent and the reason are named
    error = job["remote"]["error"]
    assert all(text in error for text in [*says, f"db_id {flow.db_ids[0]}", "Correct the flow"]), error
    assert "Traceback" not in error


THEIR_MODULE = """\
from dataclasses import dataclass
from jobflow import Flow, Response, job
from monty.json import MSONable
from pydantic import BaseModel

@dataclass
class Atom(MSONable):
    symbol: str

class Result(BaseModel):
    energy: float
    atoms: list[Atom]

@job(output_schema=Result)
def calculate():
    return Result(energy=-1.5, atoms=[Atom("Cu")])

@job
def read(energy, atom, result):
    return [energy, atom.symbol, type(result).__name__]

@job
def calculate_more():
    first = calculate()
    last = read(first.output.energy, first.output.atoms[0], first.output)
    return Response(replace=Flow([first, last], output=last.output))
"""


def test_the_runner_needs_no_package_of_the_user(busy: User, tmp_path: Path) -> None:
    # Given a package that can be imported where the flow is submitted and on the worker, but not by the runner
    (tmp_path / "their_package.py").write_text(THEIR_MODULE)
    setup = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from their_package import *
c = calculate()
flow_ = Flow([c, read(c.output.energy, c.output.atoms[0], c.output), calculate_more()])
flow_.update_config({{"manager_config": {{"exec_config": {{"export": {{"PYTHONPATH": "{tmp_path}:$PYTHONPATH"}}}}}}}})
"""
    # When a flow runs whose references go through objects of that package
    flow = busy.submit("flow_", setup=setup).wait_for("COMPLETED")
    # Then each job of it, created ones included, got the values and the objects
    assert [flow.output(job) for job in flow.jobs if job["job"]["name"] == "read"] == [[-1.5, "Cu", "Result"]] * 2


def test_a_file_with_its_own_jobs_just_works(busy: User, tmp_path: Path) -> None:
    # Given a file that defines its jobs, one of which returns another, in a directory that no worker knows
    directory = tmp_path / "it's my $work"
    directory.mkdir()
    file = directory / "first_flow.py"
    file.write_text(
        """
from jobflow import Flow, Response, job

@job
def double(x):
    return 2 * x

@job
def double_later(x):
    return Response(replace=double(x))

first = double(2)
flow = Flow([first, double_later(first.output)])
"""
    )
    # When it is submitted to a worker on this machine, with an exec_config of the project
    done = busy.types("submit", str(file), "--exec-config", "greeting", "--json")
    # Then nothing is warned of, and all jobs complete with that configuration
    assert "unable to import" not in done.stderr
    flow = Submitted(busy.project, tuple(json.loads(done.stdout)["db_ids"])).wait_for("COMPLETED")
    assert [flow.output(job) for job in flow.jobs][-1] == 8
    assert {job["exec_config"]["export"]["GREETING"] for job in flow.jobs if job["exec_config"]} == {"it's $HOME"}
