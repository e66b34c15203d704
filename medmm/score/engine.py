"""What an engine is: rows in, answers out, wherever that is done. No torch.

There are three: one process of this machine (here), all its cores (cores), the nodes of a Ray cluster (ray). All answer
on one thread a process and leave the same bytes. The first is given a model; the others where one lies, which the
processes that answer load: the one that hands out the work needs no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medmm.read.cohort import CaseRow, Cohort
from medmm.result import Refusal, ScoredCase
from medmm.score.content import Beside


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for every row, wherever it is answered."""

    model_id: str
    cohort: Cohort
    """For its configuration."""
    beside: Beside
    films: Path
    """Folder of the pictures that the model was given."""
    cache: Path | None = None
    """Folder of encoded cases, which other runs may share; None to keep none."""


Answered = tuple[CaseRow, ScoredCase | Refusal]
Engine = Callable[[Plan, Iterable[CaseRow], int | None], Iterator[Answered]]
"""Rows to their answers, in the same order and each as soon as it is there; a row is asked for when somebody is free
for it. The number is of processes; None leaves it to the engine."""
