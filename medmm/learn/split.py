"""Who trains, who chooses, who judges: always by patient, always from a seed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from medmm.config import SplitConfig

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
