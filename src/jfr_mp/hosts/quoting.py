"""Quoting for shells, which happens only here: everywhere else commands are lists and values are plain text."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from jfr_mp.errors import ConfigError

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What may expand in the value of an export: $NAME, ${NAME} and ${NAME:-text}, ${NAME:+text} with harmless text, and a
#: tilde where the shell would expand one.
_EXPANDING = re.compile(
    r"""
    (?P<variable> \$ [A-Za-z_][A-Za-z0-9_]* | \$\{ [A-Za-z_][A-Za-z0-9_]* (?: :?[-+] [\w./:$%+=,@~\ -]* )? \} )
    | (?P<home> (?: (?<=:) | ^ ) ~ (?= [/:] | $ ) )
    | (?P<special> [\\"`$] )
    """,
    re.VERBOSE | re.ASCII,
)

#: A value in which no shell finds anything to do.
_PLAIN_VALUE = re.compile(r"[\w./:%+=,@ -]*", re.ASCII)

#: csh interprets newlines and exclamation marks even within quotes, fish backslashes.
_READ_DIFFERENTLY = frozenset("\n!\\")


def quote(argv: Sequence[str | PurePath]) -> str:
    """Return a command line that a shell splits into exactly these words."""
    return shlex.join(str(word) for word in argv)


def one_word(script: str) -> str:
    """Return a word that every login shell, csh and fish included, passes on unchanged as a script for sh.

    A script with a character that one of them interprets even within quotes is encoded.
    """
    if not _READ_DIFFERENTLY.intersection(script):
        return shlex.quote(script)
    encoded = base64.b64encode(script.encode()).decode()
    return f"'eval \"$(echo {encoded} | base64 -d)\"'"


def export_line(name: str, value: Any) -> str:
    r"""Return a shell line that exports a variable.

    References to other variables and a leading ``~`` expand when the line runs, because project files rely on it:
    ``PATH: /opt/bin:$PATH``. Everything else is literal: spaces, quotes, ``;``, backslashes, backticks, ``$(...)``. A
    value that is quoted as a whole has the meaning that it has in a shell: ``'"a b"'`` is ``a b``, and ``"'$5'"`` is
    ``$5``.

    Parameters
    ----------
    name
        The name of the variable.
    value
        Anything with a text form.

    Raises
    ------
    ConfigError
        The name is not a name for a variable, or the value contains a NUL.
    """
    if not _VARIABLE_NAME.fullmatch(name):
        raise ConfigError(f"exec_config: {name!r} cannot be exported: use letters, digits and _, not a digit first")
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"exec_config: the value of {name} holds a NUL character, which no variable can")
    if literal := re.fullmatch(r"'([^']*)'", text):
        return f"export {name}={shlex.quote(literal[1])}"
    if quoted := re.fullmatch(r'"([^"]*)"', text):
        text = quoted[1]
    return f'export {name}="{_EXPANDING.sub(_escape, text)}"'


def is_plain(name: str, value: Any) -> bool:
    """Return whether the line that exports a variable exports exactly the text of its value: nothing in it expands."""
    return bool(_VARIABLE_NAME.fullmatch(name) and _PLAIN_VALUE.fullmatch(str(value)))


def _escape(match: re.Match[str]) -> str:
    """Keep what may expand, escape what may not."""
    if match["variable"]:
        return match["variable"]
    return "${HOME}" if match["home"] else f"\\{match['special']}"
