"""``jfr-mp runner``: jobflow-remote's names of the commands that start and stop the processes."""

from __future__ import annotations

from jfr_mp.cli import lifecycle, status
from jfr_mp.cli.commands import command, new_group

app = new_group("Start and stop the processes, under the names of jobflow-remote.")

command(app)(lifecycle.start)
# No daemon outlives a master, so that these three are one.
command(app, "stop", "shutdown", "stop-processes")(lifecycle.stop)
command(app)(lifecycle.kill)
command(app)(lifecycle.restart)
command(app)(lifecycle.run)
command(app, "status", "info")(status.status)
