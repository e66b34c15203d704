"""Scoring in this process, with children that read: for who has one GPU, or holds a model already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from medmm.explain.similar import Memory
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow
from medmm.score.case import Answerer
from medmm.score.engine import Answered, Engine, Plan
from medmm.score.reading import read_rows


def in_process(model: Model, memory: Memory | None = None) -> Engine:
    """An engine of one process; one child a core reads if no number is given.

    Args:
        model: ready to answer.
        memory: training cases to compare with, if that is asked for.
    """
    return partial(_score, Answerer(model, memory))


def _score(answerer: Answerer, plan: Plan, rows: Iterable[CaseRow], workers: int | None) -> Iterator[Answered]:
    with one_thread():
        for row, read in read_rows(plan.cohort, rows, workers, answerer.enough, answerer.kept(plan)):
            yield row, answerer.answered(plan, row, read)


@contextmanager
def one_thread() -> Iterator[None]:
    """Answers of one thread: the last digits of a sum depend on how many share it, and machines differ in cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
