from __future__ import annotations

import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)
from paramiko import Ed25519Key, Message

from jfr_mp.hosts.ssh.host_certificate import HostCertificate

CA = Ed25519PrivateKey.generate()
HOST = Ed25519PrivateKey.generate()


def encoded(key: Ed25519PrivateKey) -> bytes:
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def presented(blob: bytes) -> HostCertificate | None:
    """Return the certificate of a key as paramiko receives it."""
    return HostCertificate.of(Ed25519Key(msg=Message(blob)))


def certificate(
    kind: SSHCertificateType = SSHCertificateType.HOST, names: tuple[bytes, ...] = (b"Host.org",), begin: int = 0
) -> bytes:
    builder = SSHCertificateBuilder().public_key(HOST.public_key()).type(kind).key_id(b"id").serial(1)
    builder = builder.valid_principals(list(names)) if names else builder.valid_for_all_principals()
    now = int(time.time())
    signed = builder.valid_after(now + begin - 10).valid_before(now + begin + 3600).sign(CA)
    return base64.b64decode(signed.public_bytes().split()[1])


def forged(blob: bytes) -> bytes:
    """Return a certificate with another signature, which is what it ends with."""
    return blob[:-1] + bytes([blob[-1] ^ 1])


@pytest.mark.parametrize(
    ("blob", "fault"),
    [
        (certificate(), None),
        (certificate(names=()), None),
        (certificate(names=(b"other.org", b"third.org")), "is valid for other.org, third.org only"),
        (certificate(kind=SSHCertificateType.USER), "is not one for hosts"),
        (certificate(begin=1000), "is not valid now"),
        (certificate(begin=-10_000), "is not valid now"),
        (forged(certificate()), "has no valid signature"),
    ],
    ids=["valid", "all hosts", "another host", "user", "early", "late", "forged"],
)
def test_what_is_wrong_with_a_certificate(blob: bytes, fault: str | None) -> None:
    found = presented(blob)
    assert found is not None
    assert found.authority == encoded(CA)
    assert found.fault("host.ORG", {encoded(CA)}) == fault
    assert found.fault("host.org", {encoded(HOST)}) == "is signed by another authority"


def test_a_key_without_a_certificate() -> None:
    assert presented(encoded(HOST)) is None
