"""Batch workers as the runner sees them: many jobs share one batch, a job of the scheduler that runs them one by one.

A job waits in the pool of its worker until a batch takes it; its marker, an empty file there, says how far it is.
`rounds` looks after the workers: `watch` surveys pool, batches and journal, `fate` decides what that means, `results`
writes it, and `supply` submits as many batches as the waiting jobs need. The other side, which runs in a batch, is
`jfr_mp.execution.run_batch`.
"""
