"""Which host keys are accepted: by the user's known_hosts, by certificate authorities, or on first contact."""

from __future__ import annotations

import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.hosts.conftest import MakeHost, refusal
from tests.support.sshd import Sshd, make_key, public_key


@dataclass(frozen=True)
class Case:
    """A known_hosts file, a certificate of the host, and what becomes of a login.

    Parameters
    ----------
    known_hosts
        With the names ``{host}`` (as known_hosts has it), ``{key}`` and ``{other}`` (the host's key and another), and
        ``{ca}`` and ``{wrong_ca}`` (the authority that has signed the certificate, and another one).
    certificate
        Options of ssh-keygen for the certificate, or None if there is none.
    refused
        What the error says, or None if the host is accepted.
    kind
        The type of the authority's key.
    is_stricter
        Whether OpenSSH accepts the host.
    """

    known_hosts: str
    certificate: tuple[str, ...] | None = None
    refused: str | None = None
    kind: str = "ed25519"
    is_stricter: bool = False


VALID = ("-h", "-n", "somewhere,127.0.0.1")
CA = "@cert-authority * {ca}\n"
NO_CERTIFICATE = "shows no certificate, and its key ssh-ed25519 SHA256:"

CASES = {
    "a known key": Case("{host} {key}\n"),
    "a wrong key": Case("{host} {other}\n", refused="has changed"),
    # Revoked keys
    "a revoked key": Case("@revoked {host} {key}\n", refused="revokes ssh-ed25519 SHA256:"),
    "a known key that is revoked": Case("{host} {key}\n@revoked * {key}\n", refused="line 2 of"),
    # OpenSSH looks at lines without the port only if there is none with it.
    "a known key that is revoked without a port": Case(
        "{host} {key}\n@revoked 127.0.0.1 {key}\n", refused="revokes", is_stricter=True
    ),
    "a known key that is revoked elsewhere": Case("{host} {key}\n@revoked elsewhere {key}\n"),
    "another key that is revoked": Case("{host} {key}\n@revoked * {other}\n"),
    "a revoked authority": Case(f"@revoked * {{ca}}\n{CA}", VALID, refused="line 1 of"),
    "a certificate for a revoked key": Case(f"{CA}@revoked * {{key}}\n", VALID, refused="line 2 of"),
    # Certificate authorities
    "a certificate": Case(CA, VALID),
    "a certificate for all hosts": Case(CA, ("-h",)),
    "a certificate for a pattern": Case(CA, ("-h", "-n", "127.0.0.*"), refused="is valid for 127.0.0.* only"),
    "a certificate by an RSA authority": Case(CA, VALID, kind="rsa"),
    "a certificate by an ECDSA authority": Case(CA, VALID, kind="ecdsa"),
    "a certificate by an authority for this port": Case("@cert-authority {host} {ca}\n", VALID),
    "a certificate by an authority without the port": Case("@cert-authority 127.0.0.1 {ca}\n", VALID),
    "a certificate by an authority for other hosts": Case(
        "@cert-authority *.org {ca}\n", VALID, refused="shows the unknown key"
    ),
    "a certificate by another authority": Case(
        "@cert-authority * {wrong_ca}\n", VALID, refused="a certificate that is signed by another authority"
    ),
    "a certificate by another authority for a known key": Case("@cert-authority * {wrong_ca}\n{host} {key}\n", VALID),
    "a certificate for another host": Case(CA, ("-h", "-n", "elsewhere"), refused="is valid for elsewhere only"),
    "a certificate that has expired": Case(CA, (*VALID, "-V", "20200101:20210101"), refused="is not valid now"),
    "a certificate that is not valid yet": Case(CA, (*VALID, "-V", "20900101:20910101"), refused="is not valid now"),
    "a certificate with an option": Case(CA, (*VALID, "-O", "critical:what=ever"), refused="has critical options"),
    "a certificate signed by SHA-1": Case(CA, (*VALID, "-t", "ssh-rsa"), refused="no valid signature", kind="rsa"),
    "no certificate": Case(CA, refused=NO_CERTIFICATE),
    "no certificate, but a known key": Case(f"{CA}{{host}} {{key}}\n"),
    "no certificate, and a wrong key": Case(f"{CA}{{host}} {{other}}\n", refused="has changed"),
    "an authority that is taken for a host": Case("@cert-authority * {key}\n", refused=NO_CERTIFICATE),
    "a certificate that nobody asked for": Case("{host} {key}\n", VALID),
    "an unknown marker": Case("@rubbish * {key}\n", refused="shows the unknown key"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("client", ["jfr-mp", "ssh"])
def test_a_host_is_accepted_as_openssh_does(
    make_host: MakeHost, own_sshd: Sshd, home: Path, tmp_path: Path, case: Case, client: str
) -> None:
    # Given a host with a certificate or without, and what the user knows
    ca = make_key(tmp_path / "ca", kind=case.kind)
    if case.certificate is not None:
        own_sshd.certify(ca, *case.certificate)
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text(
        case.known_hosts.format(
            host=f"[{own_sshd.host}]:{own_sshd.port}",
            key=public_key(own_sshd.host_key),
            other=public_key(make_key(tmp_path / "other")),
            ca=public_key(ca),
            wrong_ca=public_key(make_key(tmp_path / "wrong_ca")),
        )
    )
    (home / ".ssh" / "config").write_text("StrictHostKeyChecking yes\n")
    if client == "ssh":
        # Then OpenSSH decides in the same way
        assert (ssh_status(own_sshd, known_hosts) == 0) is (case.refused is None or case.is_stricter)
    elif case.refused is None:
        make_host(own_sshd).connect()
    else:
        assert case.refused in refusal(make_host, own_sshd)


def ssh_status(server: Sshd, known_hosts: Path) -> int:
    """Return the exit code of ``ssh HOST true``."""
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{known_hosts}"',
        "IdentitiesOnly=yes",
    ]
    command = ["ssh", "-F", "none", "-i", str(server.key), "-p", str(server.port)]
    for option in options:
        command += ["-o", option]
    return subprocess.run(
        [*command, f"{server.user}@{server.host}", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).returncode


def test_no_key_is_recorded_in_the_place_of_a_certificate(
    make_host: MakeHost, own_sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    # Given a user who trusts a certificate authority for a host, and a host that shows a mere key
    (home / ".ssh" / "known_hosts").write_text(f"@cert-authority * {public_key(make_key(tmp_path / 'ca'))}\n")
    # When somebody logs in
    text = refusal(make_host, own_sshd)
    # Then the error says what to do, and the key is not recorded
    assert f"line 1 of {home}/.ssh/known_hosts trusts a certificate authority for this host" in text
    assert "log in with ssh once and accept it" in text
    assert not (tmp_path / "project" / "known_hosts").exists()


def test_a_revoked_key_is_not_recorded(make_host: MakeHost, own_sshd: Sshd, home: Path, tmp_path: Path) -> None:
    (home / ".ssh" / "known_hosts").write_text(f"@revoked * {public_key(own_sshd.host_key)}\n")
    assert "Another host may be impersonating the host: ask its administrators" in refusal(make_host, own_sshd)
    assert not (tmp_path / "project" / "known_hosts").exists()


def test_a_certificate_of_an_rsa_key(make_host: MakeHost, own_sshd: Sshd, home: Path, tmp_path: Path) -> None:
    # Given a host whose only key is an RSA key
    own_sshd.host_key = make_key(tmp_path / "host_rsa", kind="rsa")
    own_sshd.reconfigure(HostKey=str(own_sshd.host_key))
    ca = make_key(tmp_path / "ca")
    own_sshd.certify(ca, *VALID)
    (home / ".ssh" / "known_hosts").write_text(f"@cert-authority 127.0.0.1 {public_key(ca)}\n")
    # Then its certificate is accepted
    assert make_host(own_sshd).run(["echo", "in"]).stdout == "in\n"
    assert not (tmp_path / "project" / "known_hosts").exists()


def test_a_new_host_is_recorded_and_a_changed_one_refused(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a host that was seen once
    make_host(own_sshd).connect()
    recorded = tmp_path / "project" / "known_hosts"
    assert recorded.read_text() == own_sshd.known_hosts_line()
    assert stat.S_IMODE(recorded.stat().st_mode) == 0o600
    # When it has another key
    own_sshd.stop()
    own_sshd.change_host_key()
    own_sshd.start()
    # Then it is refused, and the error says how to accept the key
    text = refusal(make_host, own_sshd)
    assert f"ssh-keygen -R '[127.0.0.1]:{own_sshd.port}' -f '{recorded}'" in text
    # When the user does that, then the host is reached
    recorded.unlink()
    make_host(own_sshd).connect()
    assert recorded.read_text() == own_sshd.known_hosts_line()


def test_the_users_known_hosts_go_first(make_host: MakeHost, sshd: Sshd, home: Path, tmp_path: Path) -> None:
    # Given a user who knows the host, with a key of another type beside it
    line = sshd.known_hosts_line()
    other = make_key(tmp_path / "other").with_name("other.pub").read_text().split()[1]
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text(f"# mine\n@cert-authority *.x ssh-rsa AAAA\nrubbish\n{line}")
    # Then nothing is recorded
    make_host(sshd).connect()
    assert not (tmp_path / "project" / "known_hosts").exists()
    # When the user knows it with another key, then it is refused
    known_hosts.write_text(f"[{sshd.host}]:{sshd.port} ssh-ed25519 {other}\n")
    assert f"{known_hosts} has ssh-ed25519" in refusal(make_host, sshd)


def test_strict_checking_refuses_a_new_host(make_host: MakeHost, sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("StrictHostKeyChecking yes\n")
    assert "unknown key" in refusal(make_host, sshd)
