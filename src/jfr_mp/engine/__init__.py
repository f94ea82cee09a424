"""How a process works: claim, run, commit; woken by news first, by timers second.

`traffic` opens `lanes`, a thread for each host; each runs a `loop` over `tasks`. `advance` moves one job by one step,
`polling` follows the submitted ones, `batching` those in the pools of batch workers.
"""
