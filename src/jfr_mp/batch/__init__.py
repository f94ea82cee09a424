"""The runner's side of batch workers: a batch is one scheduler job that runs many jobs.

A job waits in the pool of its worker until a batch takes it. Its marker, an empty file in the pool, shows its progress.
`rounds` processes all batch workers: `watch` surveys pool, batches and journal, `fate` decides what the findings mean
for each job, `results` writes the new states, and `supply` submits as many batches as the waiting jobs need. The code
that runs inside a batch is `jfr_mp.execution.run_batch`.
"""
