"""Plotting an equation of state."""

# Much of ASE has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.eos import birchmurnaghan
from ase.units import GPa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

POINT_COLOUR = "#b5541c"
CURVE_COLOUR = "#1f3b57"
MEV = 1000.0


def plot_equation_of_state(fitted: Mapping[str, Any], points: Sequence[Mapping[str, float]], path: Path) -> None:
    """Plot the calculated points and the fitted curve to a PNG file.

    Energies are in meV per atom above the fitted minimum, volumes in Å³ per atom.

    Parameters
    ----------
    fitted
        The output of `jfr_mp.examples.eos.fit_curve`.
    points
        Outputs of `jfr_mp.examples.eos.energy_of_cell`.
    path
        The file to write.
    """
    volumes = np.array([point["volume"] for point in points])
    energies = np.array([point["energy"] for point in points])
    margin = 0.04 * np.ptp(volumes)
    grid = np.linspace(volumes.min() - margin, volumes.max() + margin, 400)
    parameters = (fitted["bulk_modulus"] * GPa, fitted["bulk_modulus_derivative"], fitted["volume"])
    curve = birchmurnaghan(grid, fitted["energy"], *parameters)

    # pyplot would choose a backend for the display and keep the figure in memory.
    figure = Figure(figsize=(6.4, 5.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        grid, (curve - fitted["energy"]) * MEV, color=CURVE_COLOUR, lw=1.8, label="Birch-Murnaghan fit, third order"
    )
    axes.plot(volumes, (energies - fitted["energy"]) * MEV, "o", color=POINT_COLOUR, ms=7, label="EMT, one job each")
    axes.axvline(fitted["volume"], ymax=0.66, color="0.6", lw=0.9, ls="--", zorder=0)
    axes.text(fitted["volume"], 0.68, "$V_0$", transform=axes.get_xaxis_transform(), ha="center", color="0.4")
    axes.set_title(f"Equation of state of fcc {fitted['metal']}")
    axes.set_xlabel("Volume (Å³ per atom)")
    axes.set_ylabel("Energy above the minimum (meV per atom)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center")
    figure.supxlabel(caption(fitted), fontsize=10)
    figure.savefig(path)


def caption(fitted: Mapping[str, Any]) -> str:
    """Return the fitted values as one line of text for the figure."""
    return (
        rf"$a_0$ = {fitted['lattice_constant']:.3f} Å,   "
        rf"$V_0$ = {fitted['volume']:.2f} Å³ per atom,   "
        rf"$B_0$ = {fitted['bulk_modulus']:.1f} GPa,   "
        rf"$B_0'$ = {fitted['bulk_modulus_derivative']:.2f}"
    )
