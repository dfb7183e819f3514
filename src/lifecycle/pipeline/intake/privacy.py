"""
Personal data: keyed hashes that stand for it, the check that the key is the same, and the quarantine's encryption.

Everything derives from one secret (`lifecycle.config.secret_key`). A hash is HMAC-SHA256 over the kind and the
normalised value, cut to 32 hexadecimal characters; without the secret nobody can tell whose it is by trying values.

What is normalised, by kind:
- email: surrounding space removed, lower case.
- email_normalised: besides, what the provider ignores: dots and `+tag` at Gmail, `+tag` at the others of TAGGED.
- phone: digits only, without an international prefix `00`; other text is hashed as it is.
- name: Unicode NFKC, case folded, runs of space as one.
- ip, ip_prefix: the address in its canonical form; its /24 (IPv4) or /48 (IPv6) network.
- fingerprint and other kinds: as they come.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

HASH_LENGTH = 32
NONCE_LENGTH = 12
GMAIL = frozenset({"gmail.com", "googlemail.com"})
TAGGED = frozenset(
    {
        "fastmail.com", "hotmail.com", "icloud.com", "live.com", "mac.com", "me.com", "msn.com", "outlook.com",
        "pm.me", "proton.me", "protonmail.com",
    }
)  # fmt: skip
_CACHED = 1 << 17


def tokeniser(key: bytes) -> Callable[[str, str], str]:
    """Return (kind, normalised value) → 32 hexadecimal characters, under `key`."""

    @lru_cache(maxsize=_CACHED)
    def tokenise(kind: str, value: str) -> str:
        message = f"{kind}\x00{value}".encode(errors="surrogatepass")
        return hmac.digest(key, message, "sha256").hex()[:HASH_LENGTH]

    return tokenise


def key_check(key: bytes) -> str:
    """Return a value that tells whether two runs use the same key and nothing else about it."""
    return hmac.digest(key, b"lifecycle key check", "sha256").hex()


def email(text: str) -> str:
    """Normalise an address as it is hashed for `email_hash`."""
    return text.strip().lower()


@lru_cache(maxsize=_CACHED)
def email_normalised(text: str) -> tuple[str, str | None]:
    """Return an address without what its provider ignores, and its domain (None where there is no @)."""
    local, at, domain = unicodedata.normalize("NFKC", email(text)).rpartition("@")
    if not at or not local or not domain:
        return email(text), None
    if domain in GMAIL:
        return local.partition("+")[0].replace(".", "") + "@gmail.com", domain
    if domain in TAGGED:
        local = local.partition("+")[0]
    return f"{local}@{domain}", domain


def phone(text: str) -> str:
    """Reduce a telephone number to its digits."""
    digits = "".join(one for one in unicodedata.normalize("NFKC", text) if one.isdecimal())
    return digits.removeprefix("00") or text.strip()


def name(text: str) -> str:
    """Normalise a person's name."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@lru_cache(maxsize=_CACHED)
def ip(text: str) -> tuple[str, str | None]:
    """Return an address in canonical form and its network; text that is no address comes back with None."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return text.strip(), None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if isinstance(address, IPv6Address):
        return str(address), str(IPv6Network((int(address), 48), strict=False))
    return str(address), str(IPv4Network((int(address), 24), strict=False))


class Vault:
    """Encrypts and decrypts rejected records: AES-256-GCM under a key derived from the secret by HKDF."""

    def __init__(self, key: bytes) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=b"lifecycle quarantine").derive(key)
        self._cipher = AESGCM(derived)

    def seal(self, record: bytes) -> bytes:
        """Encrypt: a fresh nonce, then the ciphertext with its tag."""
        nonce = os.urandom(NONCE_LENGTH)
        return nonce + self._cipher.encrypt(nonce, record, None)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned; UsageError under another key."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:], None)
        except InvalidTag as error:
            raise UsageError(
                "the quarantine cannot be read with this LIFECYCLE_KEY: it was written under another one. "
                "Set the key that was set when these files were taken in."
            ) from error
