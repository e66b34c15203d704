"""Plan a training: look at a cohort and this machine, and write the run.toml that `medmm train --config` takes.

medmm plan COHORT --out run.toml --budget 10m
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from medmm.case import MODALITIES, Case
from medmm.config import CohortConfig, RunConfig, read_toml
from medmm.errors import CohortError, ConfigError, DataError
from medmm.files import write_whole
from medmm.learn.plan import Facts, Plan, plan
from medmm.model.batch import collate
from medmm.model.encode import Encoders
from medmm.model.folder import build_network
from medmm.read.cohort import Cohort, join_sides, read_cohort
from medmm.read.pool import read_cases
from medmm.tensors import RecordBins, pixels_for
from pipelines import terminal
from pipelines.pretrain import seconds

_TIMED = 6
"""Cases that are read and encoded, spread over the cohort; the first only warms up."""
_STEP = 32
"""Cases of the training step that is timed."""


def plan_cohort(folder: Path, out: Path, *, budget: str = "10m", columns: Path | None = None) -> Plan:
    """Write `out`, print every choice with its reason, and give back the plan.

    Raises:
        ConfigError: if `out` is there already, or the budget is no time.
        CohortError: if there is nothing to learn from, or no case can be read.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already", "Name another --out, or remove it")
    budget_s = seconds(budget)
    cohort = read_cohort(folder, read_toml(columns, CohortConfig) if columns else None)
    cohort.require_both_answers()
    terminal.remarks(cohort.remarks)
    with terminal.waiting("Timing a few cases"):
        facts = gather(cohort, budget_s)
    chosen = plan(facts)
    write_whole(out, lambda path: path.write_text(as_toml(chosen), encoding="utf-8"))
    terminal.choices(chosen, facts.budget_s, f"{out}")
    return chosen


def gather(cohort: Cohort, budget_s: float) -> Facts:
    """What a plan follows from; times are measured here and now."""
    measured = _measure(cohort)
    label, rarest = _rarest(cohort)
    gpu = torch.cuda.is_available()
    return Facts(
        cases=len(cohort.rows),
        patients=cohort.patients,
        rarest=rarest,
        rarest_label=label,
        has=_has(cohort),
        volumes=measured.volumes,
        gpu=gpu,
        bfloat16=gpu and torch.cuda.is_bf16_supported(including_emulation=False),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        read_s=measured.read_s,
        image_s=measured.image_s,
        once_s=measured.once_s,
        note_s=measured.note_s,
        step_s=measured.step_s,
        budget_s=budget_s,
    )


def as_toml(chosen: Plan) -> str:
    """run.toml, each line under its reason."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("Written by `medmm plan`; every value may be changed. Keys left out have defaults."))
    for group in dict.fromkeys(choice.group for choice in chosen.choices):
        table = tomlkit.table()
        for choice in chosen.choices:
            if choice.group == group:
                table.add(tomlkit.comment(choice.reason))
                table.add(choice.key, choice.value)
        document.add(group, table)
    return tomlkit.dumps(document)


def _rarest(cohort: Cohort) -> tuple[str, int]:
    """The label with the fewest patients of one answer, and how many they are."""
    classes = cohort.config.labels is not None and cohort.config.labels.multi_class
    counts = {
        (label, answer): len({row.patient_id for row in cohort.rows if row.targets[label] == answer})
        for label in cohort.labels
        for answer in ((1,) if classes else (1, 0))
    }
    (label, _), fewest = min(counts.items(), key=lambda item: item[1])
    return label, fewest


def _has(cohort: Cohort) -> dict[str, int]:
    """Cases with each modality, by their table and notes; no picture is opened.

    Of a study whose time only its own header states, all that there is until now may be earlier.
    """
    has, now = dict.fromkeys(MODALITIES, 0), datetime.now(cohort.config.zone).replace(tzinfo=None)
    for row in cohort.rows:
        try:
            note, record, _ = join_sides(cohort, row, row.time or (now if row.study else None))
        except DataError:
            continue
        for name, there in zip(MODALITIES, (row.study, note, record), strict=True):
            has[name] += there is not None
    return has


@dataclass(frozen=True, slots=True)
class _Measured:
    """Seconds a case, and whether its images are volumes."""

    read_s: float
    image_s: float
    once_s: float
    note_s: float
    step_s: float
    volumes: bool


def _measure(cohort: Cohort) -> _Measured:
    """Read and encode a few cases, and take a training step on them."""
    encoders = Encoders(RunConfig().encoders)
    as_they_lie = copy(encoders)
    as_they_lie.image_flips = "none"
    cases, read_s = _few(cohort)
    studies, notes = [case.study for case in cases if case.study], [case.note for case in cases if case.note]
    return _Measured(
        read_s,
        _each(encoders.encode_study, studies),
        _each(as_they_lie.encode_study, studies),
        _each(encoders.encode_note, notes),
        _step(cohort, encoders, cases),
        any(case.study is not None and case.study.volumes for case in cases),
    )


def _few(cohort: Cohort) -> tuple[list[Case], float]:
    """Cases spread over the cohort, read as training reads them, and the seconds that one takes.

    They are read in a process of their own; the first, with which it starts, does not count if there are others.
    """
    places = np.unique(np.linspace(0, len(cohort.rows) - 1, min(_TIMED, len(cohort.rows))).astype(int))
    enough = pixels_for(RunConfig().encoders.image_size)
    times, read = [time.perf_counter()], list[Case]()
    for _, case in read_cases(cohort, [cohort.rows[i] for i in places], 1, enough):
        times.append(time.perf_counter())
        read += [case] if isinstance(case, Case) else []
    if not read:
        raise CohortError("none of the cases tried can be read", "Run `medmm check`, which says why")
    counted = times[1:] if len(times) > 2 else times
    return read, (counted[-1] - counted[0]) / (len(counted) - 1)


def _each(encode: Callable[[Any], object], things: Sequence[Any]) -> float:
    """Seconds for one of them; the first is done once more before the clock starts."""
    if not things:
        return 0.0
    encode(things[0])
    started = time.perf_counter()
    for thing in things:
        encode(thing)
    return (time.perf_counter() - started) / len(things)


def _step(cohort: Cohort, encoders: Encoders, cases: Sequence[Case]) -> float:
    """Seconds a case of a step of the fusion, forward and backward; the better of two."""
    bins = RecordBins.learn(cohort.config.record, (case.record.values for case in cases if case.record))
    features = [encoders.features(encoders.encode(case, prior=bool(cohort.config.prior)), bins) for case in cases]
    batch = collate([features[i % len(features)] for i in range(_STEP)])
    network = build_network(cohort.config, RunConfig(), encoders, bins).train()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, body = batch.to(device), network.body.to(device)
    took = []
    for _ in range(3):
        started = time.perf_counter()
        logits = body(batch)
        torch.autograd.backward(functional.softplus(logits).sum())
        float(logits.detach().sum())  # a GPU has finished when a number of it is here
        took.append(time.perf_counter() - started)
    return min(took[1:]) / _STEP
