"""Certificates of host keys, in OpenSSH's format (PROTOCOL.certkeys of OpenSSH)."""

from __future__ import annotations

import base64
import time
from collections.abc import Collection
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from paramiko import PKey


class HostCertificate:
    """A certificate that a host has presented.

    Parameters
    ----------
    certificate
        The certificate.
    blob
        Its binary form.
    """

    def __init__(self, certificate: SSHCertificate, blob: bytes) -> None:
        self._certificate = certificate
        self._blob = blob
        text = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        #: The key of the certificate authority, as known_hosts and paramiko encode it.
        self.authority = base64.b64decode(text.split()[1])

    @classmethod
    def of(cls, key: PKey) -> Self | None:
        """Return the certificate that came with a host key; None if there is none, or none that can be read."""
        if key.public_blob is None:
            return None
        blob = key.public_blob.key_blob
        try:
            found = load_ssh_public_identity(key.public_blob.key_type.encode() + b" " + base64.b64encode(blob))
            return cls(found, blob) if isinstance(found, SSHCertificate) else None
        except (ValueError, UnsupportedAlgorithm):
            return None

    def fault(self, host: str, authorities: Collection[bytes]) -> str | None:
        """Return why the certificate does not prove the identity of a host, or None if it does.

        Parameters
        ----------
        host
            The name of the host, without a port.
        authorities
            The keys of the certificate authorities that are trusted for this host.
        """
        found = self._certificate
        if self.authority not in authorities:
            return "is signed by another authority"
        if found.type is not SSHCertificateType.HOST:
            return "is not one for hosts"
        if found.critical_options:
            return "has critical options, which no host certificate can have"
        if not found.valid_after <= time.time() < found.valid_before:
            return "is not valid now"
        # No principals means any host.
        names = [name.decode(errors="replace").lower() for name in found.valid_principals]
        if names and host.lower() not in names:
            return f"is valid for {', '.join(names)} only"
        return None if self._is_signed() else "has no valid signature"

    def _is_signed(self) -> bool:
        """Whether the authority has signed the certificate, by an algorithm that OpenSSH accepts."""
        authority = self._certificate.signature_key()
        # The certificate ends with the name of the algorithm and the signature, which is as long as the key.
        if isinstance(authority, RSAPublicKey) and self._blob[: -(4 + (authority.key_size + 7) // 8)].endswith(
            b"\0\0\0\7ssh-rsa"
        ):
            return False
        try:
            self._certificate.verify_cert_signature()
        except (InvalidSignature, ValueError):
            return False
        return True
