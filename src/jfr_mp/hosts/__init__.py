"""The machines on which jobs run: commands and files there."""

from jfr_mp.hosts.base import BaseHost, CommandResult
from jfr_mp.hosts.host_pool import HostPool, host_of

__all__ = ["BaseHost", "CommandResult", "HostPool", "host_of"]
