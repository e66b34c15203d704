"""Scoring on every core of this machine: a process for each, which reads a case and answers it on one thread.

Threads within an answer share a core badly: most of what a case needs is small. A process that dies or hangs over a
case is replaced, and the case refused, as where children only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import tee
from pathlib import Path

from medmm.errors import DataError
from medmm.read.cohort import CaseRow
from medmm.read.pool import MEMORY_BYTES, TIMEOUT_S, in_children, preload
from medmm.result import Refusal, ScoredCase
from medmm.score.engine import Answered, Engine, Plan
from medmm.score.reading import read_row
from medmm.score.worker import Held, answerer

_TIMEOUT_S = 2 * TIMEOUT_S
"""Loading the model, reading the first case and answering it."""
_MEMORY_BYTES = 2 * MEMORY_BYTES
"""The model and its libraries, and what a case may need as where children only read."""

LIBRARIES = (
    __name__,
    "efficientnet_lite_pytorch",
    "medmm.score.case",
    "monai.transforms",
    "torchvision.models",
    "transformers.models.bert.modeling_bert",
)
"""What a process loads before its first answer, some of it only when it is first called for; here once for all."""


def on_cores(model: Path, memory: Path | None) -> Engine:
    """An engine that answers on all cores; their libraries begin to load at once.

    Args:
        model: the model folder, which each process loads.
        memory: the file of training cases to compare with; None to compare with none.
    """
    preload(LIBRARIES)
    return partial(_score, Held(model, memory))


def _score(held: Held, plan: Plan, rows: Iterable[CaseRow], workers: int | None) -> Iterator[Answered]:
    sent, kept = tee(rows)
    jobs = ((row.case_id, (held, plan, row)) for row in sent)
    answers = in_children(answer, jobs, workers, _TIMEOUT_S, _MEMORY_BYTES, preloaded=LIBRARIES)
    for row, (_, found) in zip(kept, answers, strict=True):
        match found:
            case DataError():
                yield row, Refusal.of(found)
            case Exception():
                raise found
            case _:
                yield row, found


def answer(held: Held, plan: Plan, row: CaseRow) -> ScoredCase | Refusal | Exception:
    """Read and answer one case, in a process of its own.

    What goes wrong with the case is raised and becomes a reason; what goes wrong with the run, as a full disk does, is
    returned, since it must end the run.
    """
    try:
        loaded = answerer(held, plan.model_id)
    except Exception as problem:
        return problem
    read = read_row(plan.cohort, row, loaded.enough, loaded.kept(plan))
    try:
        return loaded.answered(plan, row, read)
    except Exception as problem:
        return problem
