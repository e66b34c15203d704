"""The secret from which every pseudonym, UID and shift of dates is derived; who holds it can link, nobody else can."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from medmm.errors import ConfigError

_BYTES = 32
_LONGEST_SHIFT_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Key:
    """Keyed derivations: HMAC-SHA256 of what is hidden, the same in every run with the same secret."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that say which key it is and nothing of its secret."""
        return self._digest("fingerprint", "").hex()[:16]

    def uid(self, original: str) -> str:
        """Return the UID that stands for `original`: 2.25 and a UUID as a decimal number (PS3.5 B.2)."""
        return f"2.25.{UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def pseudonym(self, kind: str, original: str) -> str:
        """Return a name that says nothing of `original`: the first letter of `kind` and 16 hexadecimal digits."""
        return f"{kind[0].upper()}{self._digest(kind, original).hex()[:16].upper()}"

    def shift_days(self, patient_id: str) -> int:
        """Return by how many days every date of a patient moves: 1 to 3650 into the past."""
        return -1 - int.from_bytes(self._digest("shift", patient_id)[:8], "big") % _LONGEST_SHIFT_DAYS

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self.secret, f"{kind}\0{original}".encode("utf-8", "surrogateescape"), "sha256")


def open_key(path: Path) -> Key:
    """Read the key, or make one that only its owner can read (mode 0600).

    Raises:
        ConfigError: if the file holds no key, or others may read it.
    """
    if not path.exists():
        write_private(path, secrets.token_hex(_BYTES) + "\n")
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError):
        secret = b""
    if len(secret) != _BYTES:
        raise ConfigError(
            "the key file holds no key", "Give the file that an earlier run made, or a name not yet taken"
        )
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ConfigError("others than its owner may read the key file", f"Run: chmod 600 {path.name}")
    return Key(secret)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all, in a folder that only its owner can open."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
