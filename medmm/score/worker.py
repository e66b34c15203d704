"""A process that answers loads the model once, and keeps it from one case to the next.

Who sends it cases imports this too, and loads neither torch nor a model by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from medmm.errors import ModelError

if TYPE_CHECKING:
    from medmm.score.case import Answerer


@dataclass(frozen=True, slots=True)
class Held:
    """Where that lies which a process loads before its first case."""

    model: Path
    """Folder of the model."""
    memory: Path | None
    """File of the training cases to compare with; None to compare with none."""


def answerer(held: Held, model_id: str) -> Answerer:
    """Who answers in this process; loaded at the first call.

    Raises:
        ModelError: as Model.load; if another model than the run's lies there.
    """
    loaded = _load(held)
    if loaded.model.model_id != model_id:
        problem = f"{held.model.name} holds another model than when the run began"
        raise ModelError(problem, "Leave it alone while a run goes on, on storage that all machines share")
    return loaded


@lru_cache(maxsize=1)
def _load(held: Held) -> Answerer:
    """Cores are shared by processes, not by the threads of one: the last digits of a sum depend on their number."""
    import torch

    from medmm.explain.similar import Memory
    from medmm.model.folder import Model
    from medmm.score.case import Answerer

    torch.set_num_threads(1)
    return Answerer(Model.load(held.model), Memory.load(held.memory) if held.memory else None)
