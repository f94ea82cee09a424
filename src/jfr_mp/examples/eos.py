"""The equation of state of an fcc metal, as a workflow that makes its own jobs.

The first job relaxes the cell and then *replaces itself* by one job per strain and a last one that fits the third-order
Birch-Murnaghan equation of state [1]_ and plots it. Energies come from effective medium theory [2]_ as ASE implements
it: a calculation takes milliseconds and the result is physics. ``pip install jfr-mp[eos]`` brings what it needs.

Jobflow adds one more job by itself, ``store_inputs``: it makes the output of the fit that of the first job.

References
----------
.. [1] F. Birch, Phys. Rev. 71, 809 (1947).
.. [2] K. W. Jacobsen, P. Stoltze, J. K. Nørskov, Surf. Sci. 366, 394 (1996).
"""

# Much of ASE has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from jobflow import Flow, Job, Response, job

if TYPE_CHECKING:
    from ase import Atoms

#: Changes of the lattice constant, as fractions: -3 % to +3 %, which is about -9 % to +9 % of the volume.
STRAINS = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)

#: The plot, in the run directory of the job that fits.
PLOT_FILE = "equation-of-state.png"

#: Atoms in the cubic cell of an fcc crystal.
ATOMS_PER_CELL = 4


def equation_of_state(metal: str = "Cu", strains: Sequence[float] = STRAINS) -> Flow:
    """Return the workflow.

    Parameters
    ----------
    metal
        An fcc metal of the EMT potential: Al, Cu, Ag, Au, Ni, Pd or Pt.
    strains
        Changes of the lattice constant as fractions; at least four, the fit has four parameters.

    Returns
    -------
    Flow
        Its output is that of `fit_curve`.
    """
    relaxation = relax_cell(metal, list(strains))
    relaxation.name = f"relax {metal}"
    return Flow([relaxation], output=relaxation.output, name=f"equation of state of {metal}")


@job
def relax_cell(metal: str, strains: list[float]) -> Response[dict[str, Any]]:
    """Find the lattice constant of least energy, then go on with one job per strain and the fit.

    Parameters
    ----------
    metal
        The chemical symbol.
    strains
        Changes of the lattice constant as fractions.
    """
    atoms = fcc_cell(metal)
    cell: Any = FrechetCellFilter(atoms, hydrostatic_strain=True)
    BFGS(cell, logfile=None).run(fmax=1e-4, steps=200)
    relaxed = float(atoms.cell.lengths()[0])

    points = [_named(energy_of_cell(metal, relaxed * (1 + strain)), f"strain {strain:+.1%}") for strain in strains]
    fit = _named(fit_curve(metal, [point.output for point in points]), "fit the curve")
    return Response(replace=Flow([*points, fit], output=fit.output, name=f"strained {metal}"))


@job
def energy_of_cell(metal: str, lattice_constant: float) -> dict[str, float]:
    """Return the ``volume`` (Å³ per atom) and the ``energy`` (eV per atom) of a crystal.

    Parameters
    ----------
    metal
        The chemical symbol.
    lattice_constant
        The edge of the cubic cell in Å.
    """
    atoms = fcc_cell(metal, lattice_constant)
    return {
        "volume": float(atoms.get_volume()) / ATOMS_PER_CELL,
        "energy": float(atoms.get_potential_energy()) / ATOMS_PER_CELL,
    }


@job
def fit_curve(metal: str, points: list[dict[str, float]]) -> dict[str, Any]:
    """Fit the equation of state and plot it into the current directory.

    Parameters
    ----------
    metal
        The chemical symbol.
    points
        Outputs of `energy_of_cell`.

    Returns
    -------
    dict
        ``metal``, ``lattice_constant`` (Å), ``volume`` (Å³ per atom), ``energy`` (eV per atom), ``bulk_modulus`` (GPa),
        ``bulk_modulus_derivative`` (its derivative by pressure, no unit), and ``plot``, the absolute path of a PNG.
    """
    # matplotlib takes a good part of a second to import, and only this job draws.
    from jfr_mp.examples.eos_plot import plot_equation_of_state

    points = sorted(points, key=lambda point: point["volume"])
    curve = EquationOfState([p["volume"] for p in points], [p["energy"] for p in points], eos="birchmurnaghan")
    volume, energy, bulk_modulus = curve.fit()
    fitted = {
        "metal": metal,
        "lattice_constant": float(ATOMS_PER_CELL * volume) ** (1 / 3),
        "volume": float(volume),
        "energy": float(energy),
        "bulk_modulus": float(bulk_modulus / GPa),
        "bulk_modulus_derivative": float(curve.eos_parameters[2]),
    }
    plot = Path(PLOT_FILE).absolute()
    plot_equation_of_state(fitted, points, plot)
    return {**fitted, "plot": str(plot)}


def fcc_cell(metal: str, lattice_constant: float | None = None) -> Atoms:
    """Return the cubic cell of an fcc crystal with the EMT potential attached.

    Parameters
    ----------
    metal
        The chemical symbol.
    lattice_constant
        The edge of the cell in Å; None takes the experimental one.
    """
    atoms = bulk(metal, crystalstructure="fcc", a=lattice_constant, cubic=True)
    atoms.calc = EMT()
    return atoms


def _named(new: Job, name: str) -> Job:
    new.name = name
    return new
