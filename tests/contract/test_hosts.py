"""What every host has to do. A new host is one more value of the fixture."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import CommandTimeout, HostError
from jfr_mp.hosts import BaseHost, CommandResult
from jfr_mp.hosts.local import LocalHost

HOSTS = [LocalHost]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[BaseHost]:
    host: BaseHost = request.param()
    host.connect()
    assert host.is_connected
    yield host
    host.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory whose name needs quoting everywhere."""
    path = tmp_path / 'it\'s a "dir" $(touch x) é\nü'
    path.mkdir()
    return path


def test_arguments_arrive_as_they_are(host: BaseHost) -> None:
    words = ["relax (1); touch x", "$(id)", "it's", "a\nb", "", "é"]
    code = "import sys; sys.stdout.write(repr(sys.argv[1:]))"
    assert host.run([sys.executable, "-c", code, *words]) == CommandResult(repr(words), "", 0)
    assert host.run_script('for word; do printf "%s|" "$word"; done', *words).stdout == "|".join(words) + "|"


def test_a_command_has_its_directory_its_input_and_its_result(host: BaseHost, directory: Path) -> None:
    result = host.run(["/bin/sh", "-c", "pwd; cat; echo bad >&2; exit 3"], cwd=directory, stdin="text é")
    assert result == CommandResult(f"{directory}\ntext é", "bad\n", 3)


def test_what_is_no_utf8_does_not_disturb(host: BaseHost) -> None:
    assert host.run_script(r"printf '\377ok'").stdout == "\ufffdok"


def test_a_missing_command_is_a_result(host: BaseHost) -> None:
    result = host.run(["no-such-command-here"])
    assert result.returncode == 127
    assert "no-such-command-here" in result.stderr


def test_a_missing_directory_is_an_error(host: BaseHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nowhere: there is no such directory"):
        host.run(["true"], cwd=tmp_path / "nowhere")


def test_a_command_that_hangs_is_given_up(host: BaseHost) -> None:
    # When a command and its child do not end
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.2 s"):
        host.run_script("sleep 60 & sleep 60", timeout=0.2)
    # Then nobody waits for them
    assert time.monotonic() - began < 10


def test_files_are_written_read_and_removed(host: BaseHost, directory: Path) -> None:
    path = directory / "new" / "er" / "file"
    host.mkdir(path.parent)
    host.mkdir(path.parent)
    assert (host.exists(path), host.size(path)) == (False, None)
    host.write(path, b"old")
    host.write(path, b"n\0w")
    assert (host.read(path), host.read_from(path, 2), host.size(path)) == (b"n\0w", b"w", 3)
    host.rename(path, path.with_name("other"))
    assert [entry.name for entry in path.parent.iterdir()] == ["other"]
    host.remove(path.with_name("other"))
    host.remove(path.with_name("other"))
    host.remove_tree(directory / "new")
    host.remove_tree(directory / "new")
    assert not list(directory.iterdir())


@pytest.mark.parametrize("operation", ["read", "remove_tree", "mkdir", "write"])
def test_an_error_names_the_path_and_knows_whether_it_lasts(host: BaseHost, tmp_path: Path, operation: str) -> None:
    # Given a path below something that is no directory
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    # When something is done there
    with pytest.raises(HostError, match=str(path)) as caught:
        host.write(path, b"") if operation == "write" else getattr(host, operation)(path)
    # Then one line says so, and that trying again is in vain
    assert caught.value.permanent
    assert "\n" not in str(caught.value)


def test_a_missing_file_may_still_appear(host: BaseHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file") as caught:
        host.read(tmp_path / "nothing")
    assert not caught.value.permanent
