"""A real terminal without a window: a command in tmux, its screen, and keys for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.waiting import wait_until


class Terminal:
    """A command in a terminal of its own.

    Parameters
    ----------
    socket
        A path that is free, for the server of tmux.
    argv
        The command.
    env
        Its environment.
    size
        Columns and lines.
    """

    def __init__(
        self, socket: Path, argv: Sequence[str], *, env: Mapping[str, str], size: tuple[int, int] = (80, 24)
    ) -> None:
        self._socket = socket
        self._env = {**env, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        columns, lines = size
        # Without the files of the user; the pane stays when the command ends, so that its last words can be read.
        options = ["set-option", "-g", "remain-on-exit", "on", ";"]
        # tmux does not always learn the exit code.
        self._exit_code = socket.with_name(f"{socket.name}.exit")
        noted = ["sh", "-c", '"$@"; echo $? > "$0.part"; mv "$0.part" "$0"', str(self._exit_code), *argv]
        self._tmux(*options, "new-session", "-d", "-x", str(columns), "-y", str(lines), *noted)

    def screen(self) -> list[str]:
        """Return the lines that are shown."""
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines()]

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux."""
        self._tmux("send-keys", *keys)

    def comes_to(self, wanted: Callable[[list[str]], bool], timeout: float = 30) -> list[str]:
        """Wait until the screen is as wanted, and return it."""
        try:
            wait_until(lambda: wanted(self.screen()), timeout, "the screen")
        except AssertionError as error:
            raise AssertionError("\n".join(["the screen is", *self.screen()])) from error
        return self.screen()

    def shows(self, *texts: str) -> list[str]:
        """Wait until the screen shows all of the texts, and return it."""
        return self.comes_to(lambda screen: all(text in "\n".join(screen) for text in texts))

    def ends_well(self, timeout: float = 20) -> None:
        """Wait until the command has ended, and fail with what it has said if its exit code is not 0."""
        wait_until(self._exit_code.exists, timeout, "the end of the command")
        code = self._exit_code.read_text().strip()
        assert code == "0", "\n".join([f"exit code {code}", *self.screen()])

    def cursor_is_hidden(self) -> bool:
        """Return whether the command has hidden the cursor."""
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "0"

    def close(self) -> None:
        """End the command and the terminal."""
        self._tmux("kill-server")

    def _tmux(self, *argv: str) -> str:
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *argv]
        return subprocess.run(command, env=self._env, check=True, capture_output=True, text=True, timeout=20).stdout
