"""What is shown of a case beside its answer, whoever answers: its films, its note, and what looks wrong with either."""

from __future__ import annotations

from dataclasses import dataclass, field

from medmm.result import Film


@dataclass(frozen=True, slots=True)
class Seen:
    """Made from what was read, and from nothing else."""

    films: tuple[Film, ...]
    """In the order in which a model is given them, those of the prior study behind."""
    note: str = field(repr=False)
    """Empty if there is none."""
    doubts: tuple[str, ...]
    """Of the quality of what was read."""
    study: str | None = field(repr=False)
    """Study.header; None without a study."""
    prior: str | None = field(repr=False)
    """Likewise of the earlier study."""
