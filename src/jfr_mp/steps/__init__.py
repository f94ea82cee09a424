"""What each step does to a job: one module a step, with ``run(job, site, services) -> Outcome``.

A step knows sites and JobStores, and nothing of the queue database: claiming a job before and writing the outcome after
is the business of `jfr_mp.engine`, the same for all. Which steps there are is the table in `jfr_mp.step_table`. `poll`
weighs what is known about submitted jobs; `jfr_mp.engine.polling` asks for it.
"""
