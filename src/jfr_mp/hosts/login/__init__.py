"""Logins at which the user has to be present, shared by all processes of a project on a machine.

================= =============================================================================================
`terminal`        asks the user at the terminal
`logins`          opens and closes a login: starts the broker and passes on what the host asks
`broker`          the process that owns the connection, and provides it on a Unix socket
`lender`          serves one client of the broker
`lent_connection` the connection as the clients see it
`wire`            what goes over the broker's sockets: versioned JSON messages, validated by pydantic
`broker_socket`   where the broker listens
================= =============================================================================================
"""
