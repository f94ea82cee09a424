"""Batch workers as the runner sees them: the pool, the allocations that empty it, and what becomes of a job there.

The other side, which runs in an allocation, is `jfr_mp.execution.run_batch`.
"""
