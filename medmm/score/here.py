"""Scoring in this process, with children that read: for who has one GPU, or holds a model already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from medmm.read.cohort import CaseRow
from medmm.score.engine import Answered, Plan, answered
from medmm.score.reading import read_rows


def score_here(plan: Plan, rows: Iterable[CaseRow], workers: int | None = None) -> Iterator[Answered]:
    """The engine of one process; one child a core reads if no number is given."""
    with one_thread():
        for row, read in read_rows(plan.cohort, rows, workers, plan.enough):
            yield row, answered(plan, row, read)


@contextmanager
def one_thread() -> Iterator[None]:
    """Answers of one thread: the last digits of a sum depend on how many share it, and machines differ in cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
