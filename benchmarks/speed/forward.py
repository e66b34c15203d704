"""Forward only, on every core: processes of one thread with cases in memory, side by side as `medmm score` has them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from benchmarks.speed.rounds import Subject
from medmm.case import Case
from medmm.explain.contribution import predict
from medmm.read.pool import preload
from medmm.score.cores import LIBRARIES

_WAIT_S = 600
EXPLAINED, UNEXPLAINED = "forward", "forward_unexplained"


def forward_only(run: Path, folder: Path) -> dict[str, float]:
    """Studies a second of cases that are decoded already: encoded and answered, with and without explanations.

    Raises:
        queue.Empty: if a process died.
    """
    preload(LIBRARIES)
    children, cores = multiprocessing.get_context("forkserver"), os.cpu_count() or 1
    begin, rates = children.Barrier(cores), children.Queue()
    processes = [
        children.Process(target=_measure, args=(run, folder, number, cores, begin, rates)) for number in range(cores)
    ]
    for process in processes:
        process.start()
    found: list[dict[str, float]] = [rates.get(timeout=_WAIT_S) for _ in processes]
    for process in processes:
        process.join()
    return {way: sum(one[way] for one in found) for way in (EXPLAINED, UNEXPLAINED)}


def _measure(run: Path, folder: Path, number: int, cores: int, begin: Barrier, rates: Queue[dict[str, float]]) -> None:
    """Runs in a process: its part of the cases both ways, each at the same time as the others."""
    torch.set_num_threads(1)
    subject = Subject.of(run)
    cohort = subject.cohort(folder)
    cases = subject.cases(replace(cohort, rows=cohort.rows[number::cores]))
    rates.put(dict(_rates(subject, cases, begin)))


def _rates(subject: Subject, cases: list[Case], begin: Barrier) -> Iterator[tuple[str, float]]:
    for way, explained in ((EXPLAINED, True), (UNEXPLAINED, False)):
        _forward(subject, cases[0], explained=explained)
        begin.wait(_WAIT_S)
        since = time.perf_counter()
        for case in cases:
            _forward(subject, case, explained=explained)
        yield way, len(cases) / (time.perf_counter() - since)


def _forward(subject: Subject, case: Case, *, explained: bool) -> None:
    features = subject.model.encode(case, keep_trunks=explained)
    (answer,) = predict(subject.model, [features])
    if explained:
        subject.explained(case, features, answer)
