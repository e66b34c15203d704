"""What a PACS answers to an object: C-STORE statuses (PS3.4 B.2.3) and the same codes in STOW-RS (PS3.18 I.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["stored", "later", "refused"]

SUCCESS, PROCESSING_FAILURE, NO_SUCH_CLASS = 0x0000, 0x0110, 0x0122
_BEFORE = {0x0111, 0xB00E}
"""Duplicate SOP Instance; the second is how Azure's DICOM service says it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one object."""

    uid: str = field(repr=False)
    """SOP Instance UID (0008,0018)."""
    status: int
    """0000 to FFFF."""
    stumbled: bool = False
    """Whether the PACS failed, and does not say that it is the object's fault."""

    @property
    def verdict(self) -> Verdict:
        """Whether it is stored, also with a warning or from before; may be taken later; or is refused as it is."""
        if self.stumbled:
            return "later"
        if self.status in _BEFORE or self._known[0] in ("Success", "Warning"):
            return "stored"
        return "later" if self.status & 0xFF00 == 0xA700 else "refused"

    @property
    def reason(self) -> str:
        """In words, with the code."""
        words = "stored before" if self.status in _BEFORE else self._known[1]
        return f"{words} ({self.status:04X})" if words else f"{self.status:04X}"

    @property
    def _known(self) -> tuple[str, str]:
        """Category and description."""
        from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

        return STORAGE_SERVICE_CLASS_STATUS.get(self.status, (code_to_category(self.status), ""))


class UnavailableError(Exception):
    """The PACS cannot take anything now, in words without its address."""
