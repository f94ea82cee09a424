from __future__ import annotations

import threading
from pathlib import Path

import pytest
from paramiko import ECDSAKey, HostKeys, PKey

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.known_hosts import KnownHosts


@pytest.fixture(scope="module")
def keys() -> list[PKey]:
    return [ECDSAKey.generate() for _ in range(2)]


def line(names: str, key: PKey) -> str:
    return f"{names} {key.get_name()} {key.get_base64()} comment\n"


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ("host.org", True),
        ("other,host.org", True),
        ("*.org", True),
        ("HOST.ORG", True),
        ("*.org,!host.org", False),
        ("[host.org]:2222", False),
        # The salt makes it another text each time, which is no name for a test.
        pytest.param(HostKeys.hash_host("host.org"), True, id="its hash"),
        pytest.param(HostKeys.hash_host("other"), False, id="another hash"),
    ],
)
def test_who_is_known(tmp_path: Path, keys: list[PKey], names: str, known: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# comment\n\nrubbish\n@revoked x y z\n{line(names, keys[0])}")
    hosts = KnownHosts([tmp_path / "nothing", file], None)
    assert hosts.key_types("host.org") == ([keys[0].get_name()] if known else [])
    if known:
        hosts.verify("host.org", keys[0])
    with pytest.raises(HostUnreachable, match="has changed" if known else "unknown key"):
        hosts.verify("host.org", keys[1])


def test_a_bracket_is_no_pattern(tmp_path: Path, keys: list[PKey]) -> None:
    (tmp_path / "known_hosts").write_text(line("[host]:2222", keys[0]))
    hosts = KnownHosts([tmp_path / "known_hosts"], None)
    hosts.verify("[host]:2222", keys[0])
    assert hosts.key_types("h") == []


def test_the_first_of_several_to_see_a_host_decides(tmp_path: Path, keys: list[PKey]) -> None:
    # Given threads that see a new host at the same time, some of them with another key
    file = tmp_path / "project" / "known_hosts"
    refused = []

    def see(key: PKey) -> None:
        try:
            KnownHosts([], file).verify("host", key)
        except HostUnreachable:
            refused.append(key)

    threads = [threading.Thread(target=see, args=(keys[number % 2],)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then one key is recorded, once, and the other is refused
    assert len(file.read_text().splitlines()) == 1
    assert len(refused) == 5
    assert len(set(refused)) == 1
