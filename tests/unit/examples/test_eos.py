"""The example workflow against what is published about the potential and about the metal."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ase.units import Bohr, GPa
from jobflow import Flow, Job, Response

from jfr_mp.examples.eos import STRAINS, energy_of_cell, equation_of_state, fit_curve, relax_cell
from jfr_mp.examples.eos_plot import caption

# Of ASE with NumPy 2.5, which needs Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")

#: The EMT parameters of Cu that Jacobsen, Stoltze and Nørskov published (Surf. Sci. 366, 394 (1996), table 1).
COHESIVE_ENERGY = 3.51  # eV
WIGNER_SEITZ_RADIUS = 2.67 * Bohr  # Å
LAMBDA = 1.906 / Bohr  # 1/Å

EXPERIMENT = {"lattice_constant": 3.61, "bulk_modulus": 137.0}


def function_of(made: Any) -> Callable[..., Any]:
    """Return the function that a job runs."""
    function: Callable[..., Any] = made.original
    return function


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the workflow computes for Cu, job by job, in a run directory of its own."""
    monkeypatch.chdir(tmp_path)
    lattice_constant = 3.59
    points = [function_of(energy_of_cell)("Cu", lattice_constant * (1 + strain)) for strain in STRAINS]
    return function_of(fit_curve)("Cu", points)


def test_first_job_replaces_itself_by_one_job_per_strain_and_a_fit() -> None:
    # Given the job that relaxes
    strains = [-0.02, -0.01, 0.01, 0.02]

    # When it runs
    response = function_of(relax_cell)("Cu", strains)

    # Then it asks for one job per strain and a last one whose output is that of the whole
    assert isinstance(response, Response)
    assert isinstance(response.replace, Flow)
    names = [job.name for job in response.replace.jobs]
    assert names == ["strain -2.0%", "strain -1.0%", "strain +1.0%", "strain +2.0%", "fit the curve"]
    assert response.replace.output.uuid == response.replace.jobs[-1].uuid
    edges = [job.function_args[1] for job in response.replace.jobs[:-1] if isinstance(job, Job)]
    assert sum(edges) / 4 == pytest.approx(3.59, abs=0.01)


def test_flow_has_one_job_at_first() -> None:
    flow = equation_of_state("Al")

    assert [job.name for job in flow.jobs] == ["relax Al"]
    assert flow.output.uuid == flow.jobs[0].uuid


def test_values_agree_with_the_published_potential(fitted: dict[str, Any]) -> None:
    # Given what the potential's parameters predict for nearest neighbours alone: E(s) = E0 f(lambda (s - s0)) with
    # f(x) = (1 + x) exp(-x), hence B = E0 lambda^2 / (12 pi s0). ASE's smooth cut-off moves both a little.
    lattice_constant = (16 * math.pi / 3) ** (1 / 3) * WIGNER_SEITZ_RADIUS
    bulk_modulus = COHESIVE_ENERGY * LAMBDA**2 / (12 * math.pi * WIGNER_SEITZ_RADIUS) / GPa

    # Then the fit finds them
    assert fitted["lattice_constant"] == pytest.approx(lattice_constant, rel=0.01)
    assert fitted["bulk_modulus"] == pytest.approx(bulk_modulus, rel=0.03)


def test_values_agree_with_experiment(fitted: dict[str, Any]) -> None:
    assert fitted["lattice_constant"] == pytest.approx(EXPERIMENT["lattice_constant"], rel=0.01)
    assert fitted["bulk_modulus"] == pytest.approx(EXPERIMENT["bulk_modulus"], rel=0.05)
    assert 3 < fitted["bulk_modulus_derivative"] < 6
    assert fitted["volume"] == pytest.approx(fitted["lattice_constant"] ** 3 / 4)


def test_the_fit_leaves_a_picture_in_its_run_directory(fitted: dict[str, Any], tmp_path: Path) -> None:
    plot = Path(fitted["plot"])

    assert plot.parent == tmp_path
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_caption_has_the_fitted_values_with_units(fitted: dict[str, Any]) -> None:
    text = caption(fitted)

    assert f"{fitted['lattice_constant']:.3f} Å" in text
    assert f"{fitted['bulk_modulus']:.1f} GPa" in text
