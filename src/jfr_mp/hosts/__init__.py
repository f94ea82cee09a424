"""The machines on which jobs run: commands and files.

`base` says what every host offers; `local` is this machine, `ssh` the hosts that are reached by SSH, and `login` the
logins at those where the user has to be present. `host_pool` opens each host once.
"""

from jfr_mp.hosts.base import BaseHost, CommandResult
from jfr_mp.hosts.host_pool import HostPool, host_of
from jfr_mp.hosts.local import LocalHost

__all__ = ["BaseHost", "CommandResult", "HostPool", "LocalHost", "host_of"]
