"""Who trains, who chooses, who judges: always by patient, always from a seed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from medmm.config import SplitConfig

Part = Literal["train", "validation", "test"]


def split_patients(patients: Sequence[str], config: SplitConfig, seed: int) -> list[Part]:
    """The part of each case; all cases of a patient share one, and the order of cases does not matter.

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


def folds_by_patient(patients: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each case, 0 to folds - 1: (cases,) int; all cases of a patient share one."""
    unique = sorted(set(patients))
    order = np.random.default_rng([seed, folds]).permutation(len(unique))
    fold_of = {unique[index]: place % folds for place, index in enumerate(order)}
    return np.array([fold_of[patient] for patient in patients])
