"""Flows of atomate2 with calculators of ASE that take no time: EMT and Lennard-Jones.

Workers import this module as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from atomate2.ase.jobs import (
    AseRelaxMaker,
    EmtRelaxMaker,
    LennardJonesRelaxMaker,
    LennardJonesStaticMaker,
)
from atomate2.ase.md import LennardJonesMDMaker
from atomate2.common.flows.elastic import BaseElasticMaker
from atomate2.common.flows.eos import CommonEosMaker
from atomate2.common.flows.phonons import BasePhononMaker
from jobflow import Flow, Job, job
from pymatgen.io.ase import AseAtomsAdaptor
from real_flows_quacc import ARGON, COPPER, LENNARD_JONES, RATTLED


def structure(atoms: Any) -> Any:
    """Return pymatgen's form of a structure."""
    return AseAtomsAdaptor.get_structure(atoms)


@dataclass
class RelaxMaker(EmtRelaxMaker):
    """A maker that calls its input `structure`, as the workflow of the equation of state expects."""

    @job
    def make(self, structure: Any, prev_dir: str | None = None) -> Any:
        """Relax a structure."""
        return EmtRelaxMaker.make.original(self, structure, prev_dir)


@dataclass
class Eos(CommonEosMaker):
    """The equation of state by EMT."""

    initial_relax_maker: AseRelaxMaker | None = field(default_factory=RelaxMaker)
    eos_relax_maker: AseRelaxMaker = field(default_factory=lambda: RelaxMaker(relax_cell=False))
    static_maker: None = None


@dataclass
class Elastic(BaseElasticMaker):
    """The elastic constants by EMT."""

    bulk_relax_maker: AseRelaxMaker | None = field(default_factory=EmtRelaxMaker)
    elastic_relax_maker: AseRelaxMaker = field(default_factory=lambda: EmtRelaxMaker(relax_cell=False))

    @property
    def prev_calc_dir_argname(self) -> None:
        """The makers of ASE take no earlier calculation."""
        return


@dataclass
class Phonons(BasePhononMaker):
    """The phonons by Lennard-Jones."""

    min_length: float | None = 8.0
    bulk_relax_maker: AseRelaxMaker | None = None
    static_energy_maker: None = None
    phonon_displacement_maker: LennardJonesStaticMaker = field(
        default_factory=lambda: LennardJonesStaticMaker(calculator_kwargs=LENNARD_JONES)
    )
    born_maker: None = None
    code: str = "forcefields"

    @property
    def prev_calc_dir_argname(self) -> None:
        """The makers of ASE take no earlier calculation."""
        return


FLOWS: dict[str, Callable[[], Flow | Job]] = {
    "atomate2 relax EMT": lambda: EmtRelaxMaker().make(structure(RATTLED)),
    "atomate2 static LJ": lambda: LennardJonesStaticMaker(calculator_kwargs=LENNARD_JONES).make(structure(ARGON)),
    "atomate2 relax LJ": lambda: LennardJonesRelaxMaker(calculator_kwargs=LENNARD_JONES).make(structure(ARGON)),
    "atomate2 MD LJ": lambda: LennardJonesMDMaker(
        calculator_kwargs=LENNARD_JONES, ensemble="nve", n_steps=20, temperature=50, mb_velocity_seed=1
    ).make(structure(ARGON)),
    "atomate2 EOS": lambda: Eos().make(structure(COPPER)),
    "atomate2 phonons": lambda: Phonons().make(structure(ARGON)),
    "atomate2 elastic": lambda: Elastic().make(structure(COPPER)),
}
