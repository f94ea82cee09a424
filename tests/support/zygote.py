"""A worker command that costs next to nothing: it asks a process that has imported everything to fork itself.

``zygote.py serve SOCKET`` is that process, ``zygote.py run SOCKET RUN_DIR`` the worker command. Importing jobflow takes
most of the time of a small job, and tests that run hundreds of them are not about that.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def run(path: str, run_dir: str) -> int:
    """Run a job, and return the exit code of its process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(run_dir.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1)
    return answer[0] if answer else 1


def serve(path: str) -> None:
    """Run each job in a process of its own."""
    import jobflow  # noqa: F401

    import jfr_mp.execution.run
    import tests.support.ledger_jobs  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    with connection.makefile("rb") as asked:
                        run_dir = asked.read().decode()
                    code = 1
                    try:
                        jfr_mp.execution.run.run_job(run_dir)
                        code = 0
                    finally:
                        connection.sendall(bytes([code]))
                        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[2], sys.argv[3]))
