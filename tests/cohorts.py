"""A small cohort and the dials to train on it in seconds, and made-up encoded cases with a planted signal."""

from __future__ import annotations

import csv
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medmm.config import RunConfig, SplitConfig
from medmm.learn.fit import Epoch, Examples
from medmm.learn.train import Trained, train
from medmm.model.batch import Features
from medmm.read.cohort import Cohort, read_cohort
from tests.models import LABELS, random_case

PATIENTS, SEED = 40, 0
RUN_TOML = """\
[encoders]
image_size = 96
max_words = 128

[fusion]
width = 32

[training]
epochs = 2
folds = 2
"""


@dataclass
class Diary:
    """A listener of training that remembers what it was told."""

    cases: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[tuple[str, int]] = field(default_factory=list)

    def encoded(self, done: int, total: int) -> None:
        """Remember a case."""
        self.cases.append((done, total))

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """Remember an epoch."""
        self.epochs.append((stage, epoch.number))


@dataclass(frozen=True)
class Run:
    """A training run and what it was made from."""

    out: Path
    cohort: Cohort
    trained: Trained
    diary: Diary


def dials(seed: int = 0) -> RunConfig:
    """What RUN_TOML says, with a seed."""
    said = tomllib.loads(RUN_TOML)
    return RunConfig.model_validate(said | {"training": said["training"] | {"seed": seed}})


def in_folds(folds: int = 2) -> RunConfig:
    """What RUN_TOML says, k-fold."""
    return dials().model_copy(update={"split": SplitConfig(folds=folds)})


def train_small(folder: Path, out: Path, features: Path, seed: int = 0, run: RunConfig | None = None) -> Run:
    """Train on the cohort in `folder` with the dials of RUN_TOML, or with others."""
    cohort, diary = read_cohort(folder), Diary()
    trained = train(cohort, run or dials(seed), out, features, diary, workers=1)
    return Run(out, cohort, trained, diary)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows of a CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def copy_cohort(source: Path, target: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
    """A cohort with another table; its studies are those of `source`."""
    target.mkdir(parents=True)
    shutil.copy(source / "cohort.toml", target)
    (target / "studies").symlink_to(source / "studies", target_is_directory=True)
    write_table(target / "cases.csv", change(table(source / "cases.csv")))
    return target


def strangers(source: Path, target: Path) -> Path:
    """The same cases as those of patients whom no model has met."""
    return copy_cohort(
        source,
        target,
        lambda rows: [row | {name: f"x-{row[name]}" for name in ("case_id", "patient_id")} for row in rows],
    )


def planted_cases(
    count: int,
    seed: int = 0,
    *,
    loudness: Sequence[float] = (1.0, 1.0, 1.0),
    missing: float = 0.0,
    not_stated: float = 0.0,
    multi_class: bool = False,
) -> Examples:
    """Encoded cases whose sides say the answers, each as loud as told, in noise of its own; two cases a patient.

    Args:
        count: cases.
        seed: of everything.
        loudness: of image, note and record; 0 for a side that knows nothing.
        missing: chance that a case lacks a side; the last side that a case has stays.
        not_stated: chance that an answer is NaN.
        multi_class: one of the labels holds, instead of each on its own.
    """
    rng = np.random.default_rng(seed)
    labels = len(LABELS)
    answers = np.eye(labels)[rng.integers(labels, size=count)] if multi_class else rng.integers(2, size=(count, labels))
    there = rng.random((count, 3)) >= missing
    there[~there.any(axis=1), 0] = True
    cases = tuple(
        _planted_case(rng, f"c{i}", 2 * torch.from_numpy(answers[i]).float() - 1, loudness, there[i])
        for i in range(count)
    )
    targets = torch.from_numpy(answers).float()
    targets[torch.from_numpy(rng.random(targets.shape) < not_stated)] = torch.nan
    return Examples(cases, tuple(f"p{i // 2}" for i in range(count)), targets)


def _planted_case(
    rng: np.random.Generator, name: str, answer: Tensor, loudness: Sequence[float], there: np.ndarray
) -> Features:
    """One case; `answer` is +1 or -1 for each label."""
    case = random_case(
        int(rng.integers(2**31)), patches=3 * int(there[0]), words=4 * int(there[1]), record=bool(there[2])
    )
    image, note, record = case.image.clone(), case.note.clone(), case.record.clone()
    image[:, : len(answer)] += loudness[0] * answer
    note[:, : len(answer)] += loudness[1] * answer
    record[: len(answer), 0] += loudness[2] * answer * case.taken
    return replace(case, case_id=name, image=image, note=note, record=record)
