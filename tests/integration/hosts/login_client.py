"""A process of a project that works with a host: ``login_client.py BASE_DIR WORKER NAME THREADS OPERATIONS``.

Each operation is a command and the transfer of a file. It prints what went wrong, and exits with the number of errors.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import HostError
from jfr_mp.hosts import host_of


def main() -> int:
    base_dir, worker, name = Path(sys.argv[1]), RemoteWorker.model_validate_json(sys.argv[2]), sys.argv[3]
    threads, operations = int(sys.argv[4]), int(sys.argv[5])
    host = host_of(worker, base_dir)

    def work(number: int) -> str | None:
        content = f"{name}-{number}".encode() * 10_000
        path = base_dir / f"{name}-{number}"
        try:
            if (printed := host.run(["echo", f"{name} {number}"]).stdout) != f"{name} {number}\n":
                return f"{number}: the command printed {printed!r}"
            host.write(path, content)
            if host.run(["tail", "-c", "10", str(path)], stdin="").stdout.encode() != content[-10:]:
                return f"{number}: the file has another end"
            if host.read(path) != content:
                return f"{number}: the file has another content"
            host.remove(path)
        except HostError as error:
            return f"{number}: {type(error).__name__}: {error}"
        return None

    with ThreadPoolExecutor(threads) as pool:
        errors = [error for error in pool.map(work, range(operations)) if error]
    host.close()
    print("\n".join(errors))
    return min(len(errors), 100)


if __name__ == "__main__":
    sys.exit(main())
