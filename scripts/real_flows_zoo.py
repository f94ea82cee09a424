"""Flows of atomate2 and quacc with calculators of ASE that take no time: EMT and Lennard-Jones.

Workers import this module as well. It needs the packages that `real_flows.py` installs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ase.build import bulk, molecule
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
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.md import md_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.lj.core import freq_job
from quacc.recipes.lj.core import relax_job as lj_relax_job

COPPER = bulk("Cu", cubic=True)
#: Distorted, so that a relaxation has something to do.
RATTLED = bulk("Cu", cubic=True)
RATTLED.rattle(0.05, seed=1)
ARGON = bulk("Ar", "fcc", a=5.3, cubic=True)
#: The parameters of argon; without a cutoff every calculation would take seconds.
LENNARD_JONES = {"sigma": 3.4, "epsilon": 0.0104, "rc": 8.0}


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
    "quacc static EMT": lambda: static_job(COPPER),
    "quacc relax EMT": lambda: relax_job(RATTLED, relax_cell=True),
    "quacc relax LJ": lambda: lj_relax_job(ARGON, **LENNARD_JONES),
    "quacc MD EMT": lambda: md_job(RATTLED, steps=20),
    "quacc slabs": lambda: bulk_to_slabs_flow(COPPER, make_slabs_kwargs={"max_index": 1}),
    "quacc slabs without energies": lambda: bulk_to_slabs_flow(
        COPPER, run_static=False, make_slabs_kwargs={"max_index": 1}
    ),
    "quacc frequencies LJ": lambda: freq_job(molecule("N2"), epsilon=1.0, sigma=1.0),
}
