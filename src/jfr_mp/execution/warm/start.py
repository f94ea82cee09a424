"""Start the client of a warm server: ``python -I -S start.py DIRECTORY FALLBACK run RUN_DIR``.

DIRECTORY has the sockets of the servers. FALLBACK is the interpreter for the case that the PATH of the job has no
``jfr-mp``. This file is compiled at each start, so it holds no more than is needed to find the modules that are
compiled already. It imports them without the packages around them, whose own imports would take longer than the rest.
"""

import sys

root = __file__.rpartition("/jfr_mp/")[0]
for name in ("jfr_mp", "jfr_mp.execution", "jfr_mp.execution.warm"):
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [f"{root}/{name.replace('.', '/')}"]

from jfr_mp.execution.warm.client import main  # noqa: E402 - only now can it be found

main(sys.argv[1:])
