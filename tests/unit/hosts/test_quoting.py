from __future__ import annotations

import subprocess
from pathlib import PurePosixPath
from typing import Any

import pytest

from jfr_mp.errors import ConfigError
from jfr_mp.hosts.quoting import export_line, one_word, quote

NASTY = [
    "relax (1); touch x",
    "$(touch x)",
    "`touch x`",
    "a'b\"c",
    "line\nbreak",
    "käse 東京",
    "-n",
    "",
    "*",
    "~",
    "back\\slash",
    "a && b | c > d # e",
]


def shell(script: str, home: str = "/home/me") -> str:
    """Run a script and return what it printed, without its last character, which marks the end."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": home, "OTHER": "other value"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().removesuffix(".")


@pytest.mark.parametrize("word", NASTY)
def test_a_quoted_word_is_one_literal_word(word: str) -> None:
    assert shell(quote(["printf", "%s.", word])) == word
    assert shell(quote(["printf", "%s.", PurePosixPath("/dir", word)])) == str(PurePosixPath("/dir", word))


@pytest.mark.parametrize("word", NASTY)
def test_a_script_goes_through_any_login_shell(word: str) -> None:
    script = f"printf %s. {quote([word])}"
    carried = one_word(script)
    assert shell(f"sh -c {carried}") == word
    # csh and fish read these in their own way, even within quotes
    assert not set(carried) & set("\n!\\")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((word, word) for word in NASTY if word != "~"),
        # As people write it in project files, and as it works for the peer.
        ("$PATH:/x", "/usr/bin:/bin:/x"),
        ("/x:${PATH}", "/x:/usr/bin:/bin"),
        ("~/bin:~/lib:/x~y", "/home/me/bin:/home/me/lib:/x~y"),
        ("~", "/home/me"),
        ("/x${UNSET:+:$UNSET}", "/x"),
        ("/x${OTHER:+:$OTHER}", "/x:other value"),
        ("${UNSET:-none}", "none"),
        ('"$OTHER"', "other value"),
        ('"a b"', "a b"),
        ("'$OTHER'", "$OTHER"),
        (4, "4"),
        (True, "True"),
        # What could run a command stays text.
        ("${UNSET:-$(touch x)}", "${UNSET:-$(touch x)}"),
        ("${UNSET:-`touch x`}", "${UNSET:-`touch x`}"),
        ("${OTHER@P}", "${OTHER@P}"),
        ("${a[$(touch x)]}", "${a[$(touch x)]}"),
        ("$((1+1))$[1+1]", "$((1+1))$[1+1]"),
        ('x"; touch x; "', 'x"; touch x; "'),
        ("\\$OTHER", "\\other value"),
        ("$$ $1 $", "$$ $1 $"),
    ],
)
def test_an_exported_value(value: Any, expected: str) -> None:
    assert shell(export_line("VALUE", value) + "\nprintf '%s.' \"$VALUE\"") == expected


@pytest.mark.parametrize("name", ["", "A B", "1A", "A;touch x", "A=1", "A\n", "é"])
def test_what_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be exported"):
        export_line(name, "x")


def test_a_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        export_line("A", "\0")
