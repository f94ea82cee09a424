"""Flows of quacc with calculators of ASE that take no time: EMT and Lennard-Jones.

Workers import this module as well.
"""

from __future__ import annotations

from collections.abc import Callable

from ase.build import bulk, molecule
from jobflow import Flow, Job
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

FLOWS: dict[str, Callable[[], Flow | Job]] = {
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
