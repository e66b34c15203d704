"""A process that answers: it loads the model once, and then reads, encodes and answers whatever case it is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from medmm.errors import ModelError
from medmm.explain.similar import Memory
from medmm.model.folder import Model
from medmm.read.cohort import Cohort
from medmm.score.case import Beside
from medmm.score.engine import Plan


@dataclass(frozen=True, slots=True)
class Held:
    """What a process loads before its first case, and keeps."""

    model: Path
    """Folder of the model."""
    model_id: str
    memory: Path | None
    """File of the training cases to compare with."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is the same for every case."""

    held: Held
    cohort: Cohort
    """For its configuration."""
    beside: Beside
    """Without its memory, which every process loads."""
    films: Path

    @classmethod
    def of(cls, plan: Plan, model: Path, memory: Path | None) -> Self:
        """A plan without what takes long to hand over: that is loaded from where it lies."""
        held = Held(model, plan.model.model_id, memory if plan.beside.memory else None)
        return cls(held, plan.cohort, replace(plan.beside, memory=None), plan.films.absolute())

    def plan(self) -> Plan:
        """The plan again, in the process that works by it.

        Raises:
            ModelError: as Model.load; if another model than the run's lies there.
        """
        model, memory = _load(self.held)
        return Plan(model, self.cohort, replace(self.beside, memory=memory), self.films)


@lru_cache(maxsize=1)
def _load(held: Held) -> tuple[Model, Memory | None]:
    """Cores are shared by processes, not by the threads of one: the last digits of a sum depend on their number."""
    import torch

    torch.set_num_threads(1)
    model = Model.load(held.model)
    if model.model_id != held.model_id:
        problem = f"{held.model.name} holds another model than when the run began"
        raise ModelError(problem, "Leave it alone while a run goes on, on storage that all machines share")
    return model, Memory.load(held.memory) if held.memory else None
