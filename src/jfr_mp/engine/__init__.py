"""How a process works: claim, run, commit; woken by news first, by timers second.

`lane_plan` opens `lanes`, a thread for each host; each runs a `loop` over `tasks`. `step_runner` moves jobs by one
step, `polling` follows the submitted ones, and `jfr_mp.batch.rounds` those in the pools of batch workers.
"""
