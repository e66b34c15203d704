"""Who trains, who chooses, who judges: always by patient, always from a seed."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medmm.config import SplitConfig
from medmm.errors import CohortError
from medmm.files import write_whole

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def split_patients(patients: Sequence[str], config: SplitConfig, seed: int) -> list[Part]:
    """Hold-out: the part of each case; all cases of a patient share one, and the order of cases does not matter.

    Args:
        patients: the patient of each case.
        config: shares of the patients.
        seed: another seed, another split.
    """
    unique = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(unique))
    test = round(config.test * len(unique))
    validation = round(config.validation * len(unique))
    part_of: dict[str, Part] = {}
    for place, index in enumerate(order):
        part_of[unique[index]] = "test" if place < test else "validation" if place < test + validation else "train"
    return [part_of[patient] for patient in patients]


def split_fold(patients: Sequence[str], config: SplitConfig, seed: int, fold: int) -> list[Part]:
    """K-fold: one fold of `config.folds` tests; of the other patients a share validates and the rest train.

    Args:
        patients: the patient of each case.
        config: number of folds, and the share of the other patients that validates.
        seed: another seed, other folds.
        fold: 0 to config.folds - 1.

    Raises:
        ValueError: if `config` has no folds.
    """
    if config.folds is None:
        raise ValueError("a hold-out has no folds")
    tests = folds_by_patient(patients, config.folds, seed) == fold
    others = [patient for patient, out in zip(patients, tests, strict=True) if not out]
    part_of = dict(zip(others, split_without_test(others, config, seed + fold), strict=True))
    return [part_of.get(patient, "test") for patient in patients]


def split_without_test(patients: Sequence[str], config: SplitConfig, seed: int) -> list[Part]:
    """A share of the patients validates and the others train; for a model that k folds have judged already."""
    unique = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(unique))
    chosen = {unique[index] for index in order[: round(config.validation * len(unique))]}
    return ["validation" if patient in chosen else "train" for patient in patients]


def folds_by_patient(patients: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each case, 0 to folds - 1: (cases,) int; all cases of a patient share one."""
    unique = sorted(set(patients))
    order = np.random.default_rng([seed, folds]).permutation(len(unique))
    fold_of = {unique[index]: place % folds for place, index in enumerate(order)}
    return np.array([fold_of[patient] for patient in patients])


def write_split(path: Path, part_of: Mapping[str, str]) -> None:
    """Who was where, by case id, so that evaluation never sees training patients; `read_split` reads it."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("case_id", "part"), *part_of.items()])
    write_whole(path, lambda target: target.write_text(table.getvalue(), encoding="utf-8"))


def read_split(path: Path) -> dict[str, str]:
    """Case id -> train, validation or test.

    Raises:
        CohortError: if there is no such file.
    """
    if not path.is_file():
        remedy = "Give the folder that 'medmm train' wrote, or --external if the cohort is certainly another one"
        raise CohortError("the model does not say which cases it learnt from", remedy)
    with path.open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: row["part"] for row in csv.DictReader(file)}
