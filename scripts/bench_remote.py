"""Jobs on a host behind a slow connection: rows of `scripts/bench.py`, which need root and openssh-server.

The worker command writes what jobflow's would, without its imports: what is measured is the way there and back.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from contest import Arena, Collections, Contestant

from jfr_mp.embedded import ManagedStores

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.sshd import Sshd, public_key

#: Seconds of a round trip.
ROUND_TRIP = 0.05

_WORKER_COMMAND = """
import json, sys, time
from pathlib import Path

directory = Path(sys.argv[1])
job = json.loads((directory / "jfremote_in.json").read_text())["job"]
now = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime())
document = {key: job[key] for key in ("uuid", "index", "hosts", "name")} | {"output": 1, "metadata": {}}
(directory / "remote_job_data.json").write_text(json.dumps([document]))
response = dict.fromkeys(("output", "detour", "addition", "replace", "stored_data"))
response |= {"stop_children": False, "stop_jobflow": False}
ended = {"start_time": now, "end_time": now, "response": response, "error": None}
(directory / "jfremote_out.json").write_text(json.dumps(ended))
"""


@dataclass
class SlowLink:
    """A proxy in front of a port of this machine, with half a round trip of delay in each direction.

    Attributes
    ----------
    port
        Where it listens.
    turns
        How often data went up after data had come down: the round trips of a connection on which one side waits.
    """

    target: int
    turns: int = 0
    port: int = field(init=False)

    @contextmanager
    def open(self) -> Iterator[SlowLink]:
        """Carry connections until the block is left."""
        with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
            self.port = server.getsockname()[1]
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            yield self
            server.shutdown(socket.SHUT_RDWR)

    def _serve(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
                last = ["down"]
                self._pump(client, there, "up", last)
                self._pump(there, client, "down", last)

    def _pump(self, source: socket.socket, sink: socket.socket, way: str, last: list[str]) -> None:
        under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"begin"
            while data:
                with suppress(OSError):
                    data = source.recv(65536)
                self.turns += way == "up" != last[0]
                last[0] = way
                under_way.put((time.monotonic() + ROUND_TRIP / 2, data))

        def write() -> None:
            with suppress(OSError):
                while True:
                    due, data = under_way.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)

        for target in (read, write):
            threading.Thread(target=target, daemon=True).start()


@contextmanager
def remote_arena(
    contestant: Contestant, home: Path, stores: ManagedStores, jobs: str, delay: float
) -> Iterator[tuple[Arena, Collections, SlowLink]]:
    """Run a contestant with a worker behind a slow link to an sshd of this machine."""
    server = Sshd(home.with_name(f"{home.name}-sshd"))
    server.start()
    try:
        with SlowLink(server.port).open() as link:
            command = home.with_name(f"{home.name}-command.py")
            command.write_text(_WORKER_COMMAND)
            worker = {
                **server.worker(home / "there"),
                "port": link.port,
                "execution_cmd": f"{sys.executable} -S {command} {{}}",
            }
            arena = Arena.lay_out(contestant, home, stores, jobs, {"there": worker}, delay)
            (home / ".ssh").mkdir(mode=0o700)
            (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{link.port} {public_key(server.host_key)}\n")
            with arena.collections() as collections, arena.running():
                time.sleep(contestant.settle)
                yield arena, collections, link
    finally:
        server.stop()
