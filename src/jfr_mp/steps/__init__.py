"""The steps: one module per step, with a function ``run(job, site, services) -> Outcome``.

A step uses sites and JobStores, but not the queue database: `jfr_mp.engine` claims the job before the step and writes
the outcome after it, in the same way for all steps. The table of the steps is `jfr_mp.step_table`. The module `poll`
evaluates what is known about submitted jobs; `jfr_mp.engine.polling` collects it.
"""
