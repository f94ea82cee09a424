"""The bus between a master, its role processes and the command line; the only package that imports zmq.

Two ways lead through it. The **control** way (ROUTER/DEALER) carries what is said to or by one process: I am here, I am
busy, stop, how are you all. The **event** way (PUB/SUB) carries wake-ups: a job is now in this state. An event may be
lost, and nothing depends on it but speed: every role also looks at the database from time to time.
"""
