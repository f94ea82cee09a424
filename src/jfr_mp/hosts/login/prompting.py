"""Logging in with the answers of a person."""

from __future__ import annotations

from typing import Any

from paramiko import Transport
from paramiko.ssh_exception import BadAuthenticationType

from jfr_mp.hosts.login.sharing import Answer, Question

#: Seconds for a person to answer; hosts mostly have less patience.
_PATIENCE = 600.0
_INTERACTIVE, _PASSWORD = "keyboard-interactive", "password"


class AskingTransport(Transport):
    """Asks a person where a key alone does not open the host.

    Parameters
    ----------
    sock
        Leads to the host.
    name
        What the person knows the host as.
    answer
        Asks the person.
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
            It does not, or wants something that no person can type.
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
        """Ask our way where paramiko would ask on the terminal: after a key that the host takes as the first factor."""
        self.ask(username)
        return []

    def _reply(self, title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if not (title or instructions or prompts):
            return []
        return self._answer(Question(self._name, title, instructions, tuple(prompts)))
