"""The certificate that generated videos are signed with: the user's own, or a test certificate.

PAHA_CREDENTIALS names a folder with the user's `certificates.pem` (the signing certificate first,
then those of its issuers, without the root if that is public) and `key.pem`. Without it a test
certificate is made at first use in the user's configuration folder. It proves that a file is
unchanged since PAHA wrote it on this machine, but not who made it.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paha_core.errors import UserError
from paha_core.local_files import beside

if TYPE_CHECKING:
    import c2pa

VARIABLE = "PAHA_CREDENTIALS"
CERTIFICATES, KEY = "certificates.pem", "key.pem"
TEST_NAME = "PAHA test certificate"
VALID_DAYS = 3650


@dataclass(frozen=True)
class Credentials:
    """A chain of certificates and the private key of the first, both PEM."""

    certificates: bytes
    key: bytes

    def signer(self) -> c2pa.Signer:
        """A signer of C2PA claims. Raises `UserError` for a key that can't sign, or is not that of
        the first certificate."""
        import c2pa

        try:
            _check_pair(self.certificates, self.key)
            info = c2pa.C2paSignerInfo(_algorithm(self.key), self.certificates, self.key, None)
            return c2pa.Signer.from_info(info)
        except (c2pa.C2paError, ValueError, TypeError) as error:
            raise UserError(f"videos can't be signed with these credentials: {error}") from error


def credentials() -> Credentials:
    """The user's credentials, or the test certificate, made at first use.

    Raises `UserError` where the named folder lacks a file, or the test certificate can't be kept.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else _own_folder()
    if not named and not (folder / KEY).is_file():
        try:
            _write_test_credentials(folder)
        except OSError as error:
            raise UserError(
                f"the test certificate can't be kept in {folder} ({error.strerror}): name a folder "
                f"with your own in {VARIABLE}, or use --no-mark"
            ) from error
    for name in (CERTIFICATES, KEY):
        if not (folder / name).is_file():
            raise UserError(f"{VARIABLE} names {folder}, which holds no {name}")
    return Credentials((folder / CERTIFICATES).read_bytes(), (folder / KEY).read_bytes())


def _own_folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "paha" / "credentials"


def _write_test_credentials(folder: Path) -> None:
    """Make a root, and a certificate that it signs: C2PA does not allow self-signed ones. The
    root's key is not kept. Of several processes the first wins."""
    made = beside(folder, "tmp")
    made.mkdir(parents=True, mode=0o700)
    try:
        chain, key = _test_credentials()
        (made / CERTIFICATES).write_bytes(chain)
        (made / KEY).touch(mode=0o600)
        (made / KEY).write_bytes(key)
        made.rename(folder)
    except OSError:
        if not (folder / KEY).is_file():  # no other process made them meanwhile
            raise
    finally:
        for file in (made / CERTIFICATES, made / KEY):
            file.unlink(missing_ok=True)
        if made.exists():
            made.rmdir()


def _test_credentials() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate(f"{TEST_NAME} root", f"{TEST_NAME} root", root_key, root_key, is_root=True)
    leaf = _certificate(TEST_NAME, f"{TEST_NAME} root", key, root_key, is_root=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return leaf.public_bytes(pem) + root.public_bytes(pem), private


def _certificate(name: str, issuer: str, key: Any, issuer_key: Any, *, is_root: bool) -> Any:
    """An X.509 certificate by the profile of C2PA's specification."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    def named(text: str) -> x509.Name:
        parts = ((x509.NameOID.ORGANIZATION_NAME, "PAHA"), (x509.NameOID.COMMON_NAME, text))
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])

    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    usage |= {"digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(named(issuer), named(name), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not is_root:
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _check_pair(certificates: bytes, key: bytes) -> None:
    """Raise `ValueError` unless the key belongs to the first certificate, and that is valid now."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    first = x509.load_pem_x509_certificates(certificates)[0]
    if first.public_key() != load_pem_private_key(key, None).public_key():
        raise ValueError(f"{KEY} is not the key of the first certificate")
    now = datetime.datetime.now(datetime.UTC)
    if not first.not_valid_before_utc <= now <= first.not_valid_after_utc:
        raise ValueError("the certificate has expired, or is not valid yet")


def _algorithm(key: bytes) -> bytes:
    """C2PA's name of the signature that a private key makes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, None)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return b"ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey):
        names = {256: b"es256", 384: b"es384", 521: b"es512"}
        return names[private.curve.key_size]
    raise ValueError("the key is neither RSA nor on an elliptic curve")
