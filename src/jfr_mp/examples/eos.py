"""The equation of state of an fcc metal, as a workflow that creates its own jobs.

The first job relaxes the cell. It then *replaces itself* by one job per strain, and a final job that fits the
third-order Birch-Murnaghan equation of state [1]_ and plots it. Energies are computed by effective medium theory [2]_
as implemented in ASE: a calculation takes only milliseconds, but the result is real physics. The extra `eos` installs
the required packages.

Jobflow adds another job, ``store_inputs``, which makes the output of the fit the output of the first job.

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

#: Relative changes of the lattice constant: -3 % to +3 %, or about -9 % to +9 % of the volume.
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
        Relative changes of the lattice constant; at least four, because the fit has four parameters.

    Returns
    -------
    Flow
        The workflow, whose output is that of `fit_curve`.
    """
    relaxation = relax_cell(metal, list(strains))
    relaxation.name = f"relax {metal}"
    return Flow([relaxation], output=relaxation.output, name=f"equation of state of {metal}")


@job
def relax_cell(metal: str, strains: list[float]) -> Response[dict[str, Any]]:
    """Find the lattice constant of minimum energy, and continue with one job per strain and the fit.

    Parameters
    ----------
    metal
        The chemical symbol.
    strains
        Relative changes of the lattice constant.
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
    """Fit the equation of state and plot it to a file in the current directory.

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
        ``bulk_modulus_derivative`` (its pressure derivative, without unit), and ``plot``, the absolute path of a PNG.
    """
    # Importing matplotlib takes a large part of a second, and only this job needs it.
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
        The edge of the cell in Å; None for the experimental value.
    """
    atoms = bulk(metal, crystalstructure="fcc", a=lattice_constant, cubic=True)
    atoms.calc = EMT()
    return atoms


def _named(new: Job, name: str) -> Job:
    new.name = name
    return new
