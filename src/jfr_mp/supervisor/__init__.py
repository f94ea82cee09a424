"""The master: starts role processes, watches over them, speaks for them, and ends them.

What may happen to a role process is a table (`lifecycle`); everything that happens - signals, deaths, messages, time -
reaches it through one loop (`master`). It imports neither jobflow nor what a step needs.
"""
