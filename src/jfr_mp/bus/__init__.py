"""The bus between a master, its role processes and the command line; the only package that imports zmq.

The **control** channel (ROUTER/DEALER) carries messages to and from single processes: registration, condition, stop,
status. The **event** channel (PUB/SUB) carries wake-ups: a job is now in this state. An event may be lost, which costs
time and nothing else, because every role polls the database as well. The **lifeline** is a pipe that tells a role
process that its master has died.
"""
