"""A cohort in parts, for several machines: each case is in one part, the same one every time, whatever comes beside."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Self

from medmm.errors import ConfigError
from medmm.read.cohort import Cohort


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of several."""

    number: int
    """From 1 to `of`."""
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read '2/4'.

        Raises:
            ConfigError: if it is not such a pair.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"'{text}' is not a part of a cohort", "Write the second of four parts as 2/4")
        return cls(int(found[1]), int(found[2]))

    def has(self, case_id: str) -> bool:
        """Whether a case is in this part: by the first 8 bytes of the SHA-256 of its id."""
        digest = hashlib.sha256(case_id.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.of == self.number - 1

    def part(self, cohort: Cohort) -> Cohort:
        """The cases of a cohort that are in this part, in their order; there may be none."""
        return replace(cohort, rows=tuple(row for row in cohort.rows if self.has(row.case_id)))
