"""Warm execution: jobs are forked from a process that has imported jobflow already.

Starting a Python interpreter and importing jobflow takes more than a second of CPU time, which is nearly all that a
small job costs. So the script of a job does not start an interpreter for the worker command itself. It starts
`client`, which takes some milliseconds; the client hands its environment, working directory, limits, signals and open
files over a Unix socket to a `server`, and the server forks a `child`, which runs the job as the worker command would.
What the client waits for and returns is the end of that child.

A server serves one *kind* of client: the same interpreter, user, environment, namespaces and hard limits. It is
recycled when files change that it has imported, when it has served long enough, and when it was idle for a while. What
cannot be served warm starts cold, as if nothing of this were here.
"""
