"""What every engine does with a case that was read, and what an engine is: rows in, answers out, wherever that is done.

There are three: one process of this machine (here), all its cores (cores), the nodes of a Ray cluster (ray). All answer
on one thread a process and leave the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medmm.errors import DataError
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort
from medmm.result import Refusal, ScoredCase
from medmm.score.case import Beside, answer_case, content_from, encode_case
from medmm.score.reading import Read
from medmm.tensors import pixels_for


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What becomes of every row, wherever that is done."""

    model: Model
    cohort: Cohort
    """For its configuration."""
    beside: Beside
    films: Path
    """Folder of the pictures that the model was given."""

    @property
    def enough(self) -> int:
        """Pixels of a film's shorter side that the model asks for."""
        return pixels_for(self.model.encoders.image.size)


Answered = tuple[CaseRow, ScoredCase | Refusal]
Engine = Callable[[Plan, Iterable[CaseRow], int | None], Iterator[Answered]]
"""Rows to their answers, in the same order and each as soon as it is there; a row is asked for when somebody is free
for it. The number is of processes; None leaves it to the engine."""


def answered(plan: Plan, row: CaseRow, read: Read | DataError) -> ScoredCase | Refusal:
    """What is kept of a row that was read, or could not be."""
    if isinstance(read, DataError):
        return Refusal.of(read)
    content = content_from(read.inputs, plan.cohort.config, plan.beside)
    waiting = encode_case(plan.model, row, read.case, content, plan.films, plan.cohort.config)
    return answer_case(plan.model, waiting, plan.beside)
