"""Every group has the figures that its own cases give, few patients are marked, and fairness is Fairlearn's."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference, selection_rate
from sklearn.metrics import brier_score_loss, precision_score, recall_score, roc_auc_score

from medmm.judge.metrics import resample_patients
from medmm.judge.subgroups import UNKNOWN, FairnessRow, GroupRow, RiskRow, by_group, fairness, within_risk

LABELS = ("effusion", "nodule")
CASES = 240


class Clinic:
    """Made-up cases of two sexes and one rare site; the model flags men more readily."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.targets = (rng.random((CASES, 2)) < 0.4).astype(float)
        self.targets[:5, 1] = np.nan
        sex = np.where(np.arange(CASES) % 3 == 0, "M", "F")
        lift = 0.8 * (sex == "M")[:, None]
        self.said = 1 / (1 + np.exp(-(2 * np.nan_to_num(self.targets) - 1 + lift + rng.normal(size=(CASES, 2)))))
        self.thresholds = np.full((CASES, 2), 0.5)
        self.patients = [f"p{i // 2}" for i in range(CASES)]
        site = ["" if i < 20 else "Ward" if i < 30 else "Clinic" for i in range(CASES)]
        self.groups = {"sex": sex.tolist(), "site": site}
        self.draws = resample_patients(self.patients, 200, 0)

    def rows(self) -> tuple[GroupRow, ...]:
        return by_group(self.targets, self.said, self.thresholds, LABELS, self.patients, self.groups, self.draws)

    def fairness(self) -> dict[tuple[str, str], FairnessRow]:
        found = fairness(self.targets, self.said, self.thresholds, self.rows(), self.groups)
        return {(row.attribute, row.label): row for row in found}


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    return Clinic()


def test_a_group_s_figures_are_those_of_its_cases(clinic: Clinic) -> None:
    of = np.array(clinic.groups["sex"]) == "M"
    y, p = clinic.targets[of, 0], clinic.said[of, 0]

    row = next(row for row in clinic.rows() if (row.group, row.label) == ("M", "effusion"))

    assert (row.cases, row.present, row.absent) == (of.sum(), (y == 1).sum(), (y == 0).sum())
    assert row.auroc.value == pytest.approx(roc_auc_score(y, p))
    assert row.brier.value == pytest.approx(brier_score_loss(y, p))
    assert row.sensitivity.value == pytest.approx(recall_score(y, p >= 0.5))
    assert row.specificity.value == pytest.approx(recall_score(1 - y, p < 0.5))
    assert row.ppv.value == pytest.approx(precision_score(y, p >= 0.5))
    assert row.flagged.value == pytest.approx((p >= 0.5).mean())
    for figure in (row.auroc, row.sensitivity, row.specificity, row.ppv, row.flagged, row.ece, row.brier):
        assert figure.low <= figure.high


def test_what_is_not_stated_is_in_no_group(clinic: Clinic) -> None:
    cases = dict.fromkeys(LABELS, 0)
    for row in clinic.rows():
        if row.attribute == "sex":
            cases[row.label] += row.cases

    assert cases == {"effusion": CASES, "nodule": CASES - 5}


def test_groups_of_few_patients_are_there_and_marked_and_unknown_comes_last(clinic: Clinic) -> None:
    sites = [row for row in clinic.rows() if (row.attribute, row.label) == ("site", "effusion")]

    assert [row.group for row in sites] == ["Clinic", "Ward", UNKNOWN]
    assert [row.few for row in sites] == [False, True, True]


def test_measures_of_fairness_are_fairlearn_s(clinic: Clinic) -> None:
    y, said, sex = clinic.targets[:, 0].astype(int), (clinic.said[:, 0] >= 0.5).astype(int), clinic.groups["sex"]
    frame = MetricFrame(metrics=selection_rate, y_true=y, y_pred=said, sensitive_features=sex)

    found = clinic.fairness()[("sex", "effusion")]

    assert found.groups == ("F", "M")
    assert found.demographic_parity_difference == pytest.approx(frame.difference())
    assert found.demographic_parity_difference == pytest.approx(
        demographic_parity_difference(y, said, sensitive_features=sex)
    )
    assert found.demographic_parity_ratio == pytest.approx(frame.ratio())
    assert found.equalized_odds_difference == pytest.approx(equalized_odds_difference(y, said, sensitive_features=sex))
    assert found.demographic_parity_difference > 0.05


def test_groups_of_few_patients_are_not_compared(clinic: Clinic) -> None:
    found = clinic.fairness()[("site", "effusion")]

    assert found.groups == ("Clinic",)
    assert np.isnan(found.demographic_parity_difference)


def whole(rows: tuple[RiskRow, ...]) -> RiskRow:
    return next(row for row in rows if row.stratum == "all")


def test_a_picture_that_only_repeats_the_record_adds_nothing_within_its_risk() -> None:
    rng = np.random.default_rng(1)
    risk = np.repeat([0.1, 0.3, 0.5, 0.8], 250)
    targets = (rng.random(1000) < risk).astype(float)[:, None]
    draws = resample_patients([f"p{i}" for i in range(1000)], 200, 0)
    repeats, sees = risk + 0.001 * rng.random(1000), risk + targets[:, 0]

    nothing, something = (
        whole(within_risk(targets, said[:, None], risk[:, None], ["x"], draws)) for said in (repeats, sees)
    )

    assert roc_auc_score(targets[:, 0], repeats) > 0.7
    assert nothing.auroc.low < 0.5 < nothing.auroc.high
    assert something.auroc.value == 1
    assert something.record.value == 0.5


def test_strata_of_risk_hold_every_stated_case_once() -> None:
    clinic = Clinic()

    rows = within_risk(clinic.targets, clinic.said, clinic.said[:, ::-1], LABELS, clinic.draws)

    for label, cases in (("effusion", CASES), ("nodule", CASES - 5)):
        strata = [row for row in rows if row.label == label and row.stratum != "all"]
        assert len(strata) == 4
        assert sum(row.cases for row in strata) == cases
