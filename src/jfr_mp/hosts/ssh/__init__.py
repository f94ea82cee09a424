"""Hosts that are reached by SSH.

From the host down to the wire:

==================== ==========================================================================================
`remote_host`        `SshHost`, the host itself, with its shell scripts in `host_scripts`
`remote_commands`    commands: framing, timeouts, what the login shell prints by itself
`remote_files`       files: temporary names, checks, repetition
`link`               the connection, opened when it is needed and again when it broke; `watchdog` limits silence
`interface`          what a connection offers, whichever process has logged in
`direct_connection`  a connection of this process: `command_session` and `sftp` are its sessions
`route`              the way to the host (gateways, proxy commands), then the login
`authentication`     the login; `questions` go to the user
`transport`          paramiko's transport, corrected; `proxy` stands in for its socket
`known_hosts`        host keys, with `host_certificate`
`endpoint`           where to go and how to log in, from the project file and `ssh_config`
==================== ==========================================================================================

The other implementation of `interface` is `jfr_mp.hosts.login.lent_connection`.
"""
