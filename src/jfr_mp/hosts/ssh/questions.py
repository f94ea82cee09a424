"""Logging in with answers that the user types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paramiko.ssh_exception import BadAuthenticationType

from jfr_mp.hosts.ssh.transport import OrderlyTransport

#: Seconds for the user to answer; most hosts allow less.
_PATIENCE = 600.0
_INTERACTIVE, _PASSWORD = "keyboard-interactive", "password"


@dataclass(frozen=True)
class Question:
    """What a host asks the user.

    Parameters
    ----------
    host
        The host that asks.
    title, instructions
        What the host says first; mostly empty.
    prompts
        Each with whether the answer may be visible.
    """

    host: str
    title: str
    instructions: str
    prompts: tuple[tuple[str, bool], ...]


#: Returns one answer for each prompt of a question.
Answer = Callable[[Question], list[str]]


class AskingTransport(OrderlyTransport):
    """Asks the user if a key alone does not open the host.

    Parameters
    ----------
    sock
        Leads to the host.
    name
        The name under which the user knows the host.
    answer
        Asks the user.
    options
        Further arguments of paramiko's Transport.
    """

    def __init__(self, sock: Any, name: str, answer: Answer, **options: Any) -> None:
        super().__init__(sock, **options)
        self._name = name
        self._answer = answer

    def ask(self, user: str) -> None:
        """Answer what the host asks until it lets the user in.

        Raises
        ------
        SSHException
            The host refuses the login, or demands something that no user can type.
        """
        self.auth_timeout = _PATIENCE
        while not self.is_authenticated():
            try:
                self.auth_none(user)
            except BadAuthenticationType as refusal:
                if _INTERACTIVE in refusal.allowed_types:
                    self.auth_interactive(user, self._reply)
                elif _PASSWORD in refusal.allowed_types:
                    [password] = self._reply("", "", [("Password: ", False)])
                    self.auth_password(user, password, fallback=False)
                else:
                    raise

    def auth_interactive_dumb(self, username: str, handler: Any = None, submethods: str = "") -> list[str]:
        """Ask the user; paramiko would read from the terminal after a key that the host takes as the first factor."""
        self.ask(username)
        return []

    def _reply(self, title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if not (title or instructions or prompts):
            return []
        return self._answer(Question(self._name, title, instructions, tuple(prompts)))
