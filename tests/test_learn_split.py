"""What a split promises: a patient is on one side of it, and nothing but the patients and the seed decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medmm.config import SplitConfig
from medmm.learn.split import Part, folds_by_patient, split_fold, split_patients, split_without_test

PATIENTS = [f"p{i // 2:03d}" for i in range(200)]
"""A hundred patients with two cases each."""


def parts_of(patients: list[str], seed: int = 0, **shares: float) -> list[Part]:
    return split_patients(patients, SplitConfig(**shares), seed)


def test_all_cases_of_a_patient_share_one_part() -> None:
    assert len(set(zip(PATIENTS, parts_of(PATIENTS), strict=True))) == 100


def test_all_cases_of_a_patient_share_one_fold() -> None:
    folds = folds_by_patient(PATIENTS, 5, seed=0)

    assert len(set(zip(PATIENTS, folds.tolist(), strict=True))) == 100


def test_the_order_of_the_cases_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(len(PATIENTS))
    shuffled = [PATIENTS[i] for i in order]

    assert parts_of(shuffled) == [parts_of(PATIENTS)[i] for i in order]
    np.testing.assert_array_equal(folds_by_patient(shuffled, 5, 0), folds_by_patient(PATIENTS, 5, 0)[order])


def test_a_second_case_of_a_patient_moves_nobody() -> None:
    assert parts_of(PATIENTS)[::2] == parts_of(PATIENTS[::2])


def test_another_seed_is_another_split_and_the_same_seed_the_same() -> None:
    assert parts_of(PATIENTS, seed=3) == parts_of(PATIENTS, seed=3)
    assert parts_of(PATIENTS, seed=3) != parts_of(PATIENTS, seed=4)
    assert (folds_by_patient(PATIENTS, 5, 3) != folds_by_patient(PATIENTS, 5, 4)).any()


@pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.2, 0.1), (0.49, 0.49)])
def test_each_part_gets_its_share_of_the_patients(validation: float, test: float) -> None:
    counted = Counter(parts_of(PATIENTS[::2], validation=validation, test=test))

    assert counted["validation"] == round(100 * validation)
    assert counted["test"] == round(100 * test)


def test_folds_differ_by_one_patient_at_most() -> None:
    sizes = Counter(folds_by_patient(PATIENTS[:46], 5, seed=0).tolist())

    assert set(sizes) == set(range(5))
    assert max(sizes.values()) - min(sizes.values()) <= 2  # cases; each patient has two


@pytest.mark.parametrize("count", range(1, 8))
def test_a_tiny_cohort_always_trains_someone_and_has_all_parts_from_four_patients_on(count: int) -> None:
    parts = parts_of([f"p{i}" for i in range(count)])

    assert "train" in parts
    assert (set(parts) == {"train", "validation", "test"}) == (count >= 4)


def test_no_cases_make_no_parts_and_no_folds() -> None:
    assert parts_of([]) == []
    assert len(folds_by_patient([], 5, seed=0)) == 0


def test_more_folds_than_patients_leave_folds_empty() -> None:
    assert sorted(folds_by_patient(["a", "b", "a"], 20, seed=0).tolist()) in ([0, 0, 1], [0, 1, 1])


def folds_of(patients: list[str], folds: int, seed: int = 0) -> list[list[Part]]:
    return [split_fold(patients, SplitConfig(folds=folds), seed, fold) for fold in range(folds)]


def test_every_patient_is_tested_in_one_fold_and_never_beside_a_case_of_its_own() -> None:
    splits = folds_of(PATIENTS, 5)

    assert [sum(part == "test" for part in parts) for parts in zip(*splits, strict=True)] == [1] * len(PATIENTS)
    for parts in splits:
        assert len(set(zip(PATIENTS, parts, strict=True))) == 100


def test_each_fold_has_validation_patients_of_its_own_out_of_those_that_it_does_not_test() -> None:
    splits = folds_of(PATIENTS, 5)

    for parts in splits:
        counted = Counter(parts[::2])
        assert (counted["test"], counted["validation"]) == (20, 12)  # 15 % of 80
    assert len({tuple(part == "validation" for part in parts) for parts in splits}) == 5


def test_the_order_of_the_cases_does_not_matter_to_a_fold() -> None:
    order = np.random.default_rng(1).permutation(len(PATIENTS))
    shuffled = [PATIENTS[i] for i in order]

    assert folds_of(shuffled, 4) == [[parts[i] for i in order] for parts in folds_of(PATIENTS, 4)]


def test_another_seed_is_other_folds() -> None:
    assert folds_of(PATIENTS, 5, seed=1) != folds_of(PATIENTS, 5, seed=2)


def test_the_last_model_learns_from_everybody_but_those_that_validate() -> None:
    counted = Counter(split_without_test(PATIENTS, SplitConfig(folds=5), seed=0)[::2])

    assert counted == {"train": 85, "validation": 15}


def test_a_hold_out_has_no_folds() -> None:
    with pytest.raises(ValueError, match="no folds"):
        split_fold(PATIENTS, SplitConfig(), 0, 0)
