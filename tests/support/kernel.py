"""The kernel of a notebook: runs cells, and has what the browser would show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.manager import KernelManager

#: Seconds for a cell, and for the start of the kernel.
_PATIENCE = 60.0


@dataclass
class Cell:
    """What a cell has shown so far.

    Parameters
    ----------
    displays
        The contents of its displays by MIME type; a display that is updated has its last content.
    updates
        All contents of displays that were updated, the oldest first.
    stderr
        What it has printed to standard error.
    error
        The name of the exception that ended it; empty if none did.
    """

    displays: list[Mapping[str, str]] = field(default_factory=list)
    updates: list[Mapping[str, str]] = field(default_factory=list)
    stderr: str = ""
    error: str = ""
    _places: dict[str, int] = field(default_factory=dict)

    def take(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take a message of the kernel."""
        place = content.get("transient", {}).get("display_id")
        if kind in ("display_data", "execute_result"):
            if place:
                self._places[place] = len(self.displays)
            self.displays.append(content["data"])
        elif kind == "update_display_data":
            self.displays[self._places[str(place)]] = content["data"]
            self.updates.append(content["data"])
        elif kind == "stream" and content["name"] == "stderr":
            self.stderr += content["text"]
        elif kind == "error":
            self.error = content["ename"]


class Kernel:
    """A running kernel.

    Parameters
    ----------
    env
        Its environment.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        # A short path, because those of sockets are limited to 107 bytes.
        self._directory = TemporaryDirectory(prefix="kernel-")
        place = Path(self._directory.name)
        self._manager = KernelManager(
            connection_file=str(place / "kernel.json"), transport="ipc", ip=str(place / "socket")
        )
        self._manager.start_kernel(env={**env, "IPYTHONDIR": str(place / "ipython")}, cwd=str(place))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_PATIENCE)

    def run(self, code: str, meanwhile: Callable[[Cell], object] = lambda _cell: None) -> Cell:
        """Run a cell to its end.

        Parameters
        ----------
        code
            What it runs.
        meanwhile
            Called with the cell after each message.
        """
        own, cell = self._client.execute(code), Cell()
        while True:
            message = self._client.get_iopub_msg(timeout=_PATIENCE)
            if message["parent_header"].get("msg_id") != own:
                continue
            cell.take(message["msg_type"], message["content"])
            if message["content"].get("execution_state") == "idle":
                return cell
            meanwhile(cell)

    def interrupt(self) -> None:
        """Interrupt the cell, as the stop button does."""
        self._manager.interrupt_kernel()

    def close(self) -> None:
        """Stop the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._directory.cleanup()
