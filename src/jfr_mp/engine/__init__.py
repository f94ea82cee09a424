"""The engine of a role process: claim, run, commit; driven by events first and by timers second.

`lane_plan` opens `lanes`, one thread for each host, and each lane runs a `loop` over `tasks`. `step_runner` moves jobs
by one step, `polling` tracks submitted jobs, and `jfr_mp.batch.rounds` tracks the jobs in the pools of batch workers.
"""
