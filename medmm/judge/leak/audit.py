"""The leak audit of a cohort: what would let a model look good without having learnt anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from medmm.judge.leak.duplicate import Duplicate, Verdict, find_duplicates
from medmm.judge.leak.shortcut import Shortcut, find_shortcuts
from medmm.read.survey import Surveyed


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found, the worst first, and what was not looked for."""

    duplicates: tuple[Duplicate, ...]
    shortcuts: tuple[Shortcut, ...]
    """Every label against every suspect, the quiet ones too."""
    not_tested: tuple[str, ...]
    """In plain words."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        found = {one.verdict for one in self.duplicates} | {one.verdict for one in self.shortcuts}
        return "leak" if "leak" in found else "suspicious" if "suspicious" in found else "quiet"


def audit(
    cases: Sequence[Surveyed],
    inputs: Collection[str],
    labels: Sequence[str],
    parts: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Audit:
    """Look for duplicates among cases, and for what could tell a label without being evidence of it.

    What the verdicts mean: see `Duplicate.verdict`, `find_shortcuts` and `giveaways`.

    Args:
        cases: all cases that could be read.
        inputs: columns that a model would see.
        labels: to be told; 1, 0 or NaN in `Surveyed.targets`, of several classes one label each.
        parts: case id -> train, validation or test; None where there is no split yet.
        seed: of folds and intervals.
    """
    duplicates, not_compared = find_duplicates(cases, parts)
    shortcuts, not_tried = find_shortcuts(cases, inputs, labels, seed)
    return Audit(duplicates, shortcuts, (*not_compared, *not_tried))
