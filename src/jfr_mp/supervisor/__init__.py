"""The supervisor: a master starts role processes, restarts the processes that die, and stops them.

`control` is what the command line and Python call. `program` is the process of a master from its start to its exit,
`daemon` how it gets into the background. `master` is its loop: signals, deaths, messages and time all become events of
one table, `lifecycle`. The supervisor imports neither jobflow nor what a step needs.
"""
