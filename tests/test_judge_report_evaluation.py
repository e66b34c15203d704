"""The page of an evaluation answers what a reader asks, leaves out what it has nothing to say of, and stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from medmm.case import MODALITIES
from medmm.config import CohortConfig, LabelColumns, NumberColumn, RunConfig
from medmm.judge.evaluation import Cost, Evaluation, examples, find
from medmm.judge.report import write_evaluation
from medmm.result import Contribution, Finding, Limits, Prediction
from tests.test_judge_report import LABELS, Reader, make

ALWAYS = [
    *("comparison", "roc", "labels", "calibration", "decisions", "sure", "triage", "groups", "risk", "patterns"),
    *("ablation", "doubts", "examples", "gates", "refused", "audit", "cost", "limits", "card"),
]


def evaluation(*, limits: Limits | None = None, doubts: int = 0, external: bool = False) -> Evaluation:
    """The report of `make`, with predictions that fit it."""
    report = make()
    comparison = replace(report.comparison, case_ids=tuple(f"case-{i}" for i in range(120)))
    said = comparison.systems["fused"]
    predictions = tuple(
        Prediction(
            case_id,
            report.model_id,
            tuple(
                Finding(label, float(p), 0.5, -1.0, tuple(Contribution(m, 0.25) for m in MODALITIES), 0.0, limits)
                for label, p in zip(LABELS, said[n], strict=True)
            ),
            tuple(m for m, there in zip(MODALITIES, comparison.present[n], strict=True) if there),
            (),
            doubts=("unlike <training>",) if n < doubts else (),
        )
        for n, case_id in enumerate(comparison.case_ids)
    )
    return Evaluation(
        report=replace(report, comparison=comparison, external=external),
        predictions=predictions,
        uncalibrated=said**0.5,
        groups={"sex": ["F", "M"] * 60, "age": ["under 18"] * 6 + [""] * 114},
        cohort=CohortConfig(labels=LabelColumns(columns=LABELS), record={"crp": NumberColumn(unit="mg/L")}),
        run=RunConfig(),
        prevalence=dict.fromkeys(LABELS, 0.25),
        left_out=7,
        unlabelled=0,
        audit="",
        cost=Cost(0.125, 0.25, 512.0),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(folder, evaluation(limits=Limits(0.3, 0.7, 0.1), doubts=40))
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


def test_every_section_is_there_and_what_matters_most_is_first(page: str) -> None:
    assert set(sections(page)) == {*ALWAYS, "coverage"}
    assert sections(page)[0] == "comparison"
    assert sections(page)[-2:] == ["limits", "card"]


def test_contents_lead_to_every_section_and_to_comparison_and_limits_first(page: str) -> None:
    links = re.findall(r'<li><a href="#(\w+)">', page)

    assert sorted(links) == sorted(sections(page))
    assert links[:2] == ["comparison", "limits"]
    assert page.index("headline") < page.index('<a href="#comparison">') < page.index('<section id="comparison">')


@pytest.mark.parametrize("name", ["report.html", "model_card.html"])
def test_a_page_asks_nothing_of_the_net_and_is_small(written: Path, name: str) -> None:
    page = (written / name).read_text(encoding="utf-8")
    reader = Reader(page)

    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert not {"script", "link", "iframe", "img", "object"} & set(reader.tags)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(page.encode()) < 5_000_000


def test_what_is_not_ours_is_escaped(page: str) -> None:
    assert "<b>Mass" not in page
    assert "unlike &lt;training&gt;" in page


def test_cases_are_named_by_case_id_and_patients_never(written: Path) -> None:
    numbers = (written / "metrics.json").read_text()

    assert "secret-patient" not in numbers + (written / "report.html").read_text()
    assert "case-1" not in numbers


def test_numbers_are_the_same_twice_whatever_it_cost(written: Path, tmp_path: Path) -> None:
    again = evaluation(limits=Limits(0.3, 0.7, 0.1), doubts=40)

    write_evaluation(tmp_path, replace(again, cost=Cost(9.0, 9.0, 9.0)))

    assert (tmp_path / "metrics.json").read_bytes() == (written / "metrics.json").read_bytes()
    assert "9.000 s a case" in (tmp_path / "report.html").read_text()


def test_figures_are_those_of_scikit_learn(written: Path) -> None:
    numbers = json.loads((written / "metrics.json").read_text())
    comparison = evaluation().report.comparison
    y, p = comparison.targets[:, 0], comparison.systems["fused"][:, 0]

    row = numbers["summary"]["labels"][0]

    assert row["auroc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=1e-6)
    assert row["average_precision"] == pytest.approx(average_precision_score(y, p), abs=1e-6)
    assert row["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    assert numbers["uncalibrated"][0]["brier"] == pytest.approx(brier_score_loss(y, p**0.5), abs=1e-6)


def test_a_model_that_promises_nothing_has_no_section_of_what_it_does_not_say(tmp_path: Path) -> None:
    found = write_evaluation(tmp_path, evaluation())
    page = (tmp_path / "report.html").read_text()

    assert not found.coverage
    assert not found.uncertain
    assert set(sections(page)) == set(ALWAYS)
    assert "#coverage" not in page


def test_coverage_counts_those_that_were_not_called_the_opposite() -> None:
    made = evaluation(limits=Limits(0.3, 0.7, 0.1))
    y, p = made.report.comparison.targets[:, 0], made.report.comparison.systems["fused"][:, 0]

    found = find(made)

    rows = {(row.label, row.answer, row.present): row for row in found.coverage}
    present, absent = rows[(LABELS[0], "present", "all")], rows[(LABELS[0], "absent", "all")]
    assert (present.cases, present.covered) == ((y == 1).sum(), ((y == 1) & (p >= 0.3)).sum())
    assert (absent.cases, absent.covered) == ((y == 0).sum(), ((y == 0) & (p <= 0.7)).sum())
    assert present.promised == pytest.approx(0.9)
    assert found.uncertain[0].uncertain.value == pytest.approx(((p >= 0.3) & (p <= 0.7)).mean())
    patterns = [row for row in found.coverage if row.label == LABELS[0] and row.present != "all"]
    assert sum(row.cases for row in patterns) == 120


def test_the_surest_calls_are_counted_from_the_surest_on() -> None:
    made = evaluation()
    y, p = made.report.comparison.targets[:, 0], made.report.comparison.systems["fused"][:, 0]
    surest = np.argsort(-np.abs(np.log(p / (1 - p))))[:60]

    row = find(made).sure[0]

    assert [one.cases for one in row.surest] == [30, 60, 90, 120]
    half, whole = row.surest[1], row.surest[-1]
    assert half.missed == ((y == 1) & (p < 0.5))[surest].sum()
    assert half.alarms == ((y == 0) & (p >= 0.5))[surest].sum()
    assert whole.wrong.value == pytest.approx(((p >= 0.5) != (y == 1)).mean())
    assert row.commoner == pytest.approx(min(y.mean(), 1 - y.mean()))
    assert row.curve[-1] == whole
    assert len(row.curve) <= 100


def test_what_is_not_flagged_is_counted_by_the_call_and_not_by_the_threshold() -> None:
    made = evaluation(limits=Limits(0.3, 0.7, 0.1))
    y, p = made.report.comparison.targets, made.report.comparison.systems["fused"]

    *rows, whole = find(made).not_flagged

    for i, row in enumerate(rows):
        stated = np.isfinite(y[:, i])
        assert (row.unread, row.cases) == ((stated & (p[:, i] < 0.3)).sum(), stated.sum())
        assert (row.missed, row.present) == (((y[:, i] == 1) & (p[:, i] < 0.3)).sum(), (y[:, i] == 1).sum())
        assert row.promised == pytest.approx(0.1)
        share = row.missed / row.unread if row.unread else np.nan
        assert row.of_unread.value == pytest.approx(share, nan_ok=True)
    has = (y == 1).any(axis=1)
    told = has | (y[:, :2] == 0).all(axis=1)
    assert (y[:, 2] != y[:, 2]).all()  # nobody states it, so it is not asked for
    assert (whole.label, whole.cases, whole.present) == ("any label", told.sum(), has.sum())
    assert whole.unread == (told & (p[:, :2] < 0.3).all(axis=1)).sum() > 0
    assert np.isnan(whole.promised)


def test_triage_is_by_label_and_by_the_finding_that_leads_the_case() -> None:
    made = evaluation()
    y, p = made.report.comparison.targets[:, 0], made.report.comparison.systems["fused"][:, 0]

    found = find(made).triage

    assert [row.at_most for row in found if row.label == LABELS[0]] == [0.0, 0.01, 0.02, 0.05]
    none, *_, most = (row for row in found if row.label == LABELS[0])
    assert (none.unread, none.missed) == ((p < p[y == 1].min()).sum(), 0)
    assert most.allowed == int(0.05 * (y == 1).sum())
    assert most.missed == ((y == 1) & (p < most.below)).sum() <= most.allowed
    assert most.share == pytest.approx(most.unread / 120)
    assert none.of_new.value == pytest.approx(1 / (none.present + 1))
    leading = np.array([max(one.margin for one in case.findings[:2]) for case in made.predictions])
    any_label = next(row for row in found if row.label == "any label")
    has = (made.report.comparison.targets == 1).any(axis=1)
    told = has | (made.report.comparison.targets[:, :2] == 0).all(axis=1)
    assert any_label.unread == (told & (leading < leading[has].min())).sum()


def test_of_classes_one_always_holds_so_nothing_is_said_of_any_label() -> None:
    made = evaluation()

    found = find(replace(made, report=replace(made.report, multi_class=True)))

    assert "any label" not in {row.label for row in found.not_flagged} | {row.label for row in found.triage}


def test_triage_calls_itself_a_description_and_a_rate_that_allows_nobody_more_has_no_row(page: str) -> None:
    section = page[page.index('<section id="triage">') : page.index('<section id="groups">')]
    said = " ".join(Reader(section).text.split())
    present = {row.label: row.present for row in find(evaluation()).triage}

    assert "A description, not a promise" in said
    assert "Nothing here shows that it is safe to leave a case unread" in said
    rows = said.split("Where the probability is below")[1]
    for label, count in present.items():
        allowed = {int(rate * count + 1e-9) for rate in (0, 0.01, 0.02, 0.05)} if count else set()
        assert rows.count(f"{label}{count} (") == len(allowed)


def test_a_risk_coverage_curve_needs_cases_and_marks_the_calls_that_are_made(page: str, tmp_path: Path) -> None:
    few = evaluation()
    targets = np.where(np.arange(120)[:, None] < 19, few.report.comparison.targets, np.nan)
    made = replace(few, report=replace(few.report, comparison=replace(few.report.comparison, targets=targets)))
    write_evaluation(tmp_path, made)

    bare = (tmp_path / "report.html").read_text()

    assert page.count("Risk-coverage curve") == len(LABELS) - 1  # nobody states the last
    assert "the calls that the model makes" in page
    assert bare.count("No curve: fewer than 20 test cases state this label.") == len(LABELS)
    assert "the calls that the model makes" not in bare


def test_hiding_a_modality_is_judged_on_the_cases_that_have_it() -> None:
    made = evaluation()
    present = made.report.comparison.present
    both = {"note + record only": made.report.comparison.systems["note only"]}
    comparison = replace(made.report.comparison, systems=made.report.comparison.systems | both)
    scores = (*made.report.scores, replace(made.report.scores[2], system="note + record only"))

    found = find(replace(made, report=replace(made.report, comparison=comparison, scores=scores)))

    image = next(row for row in found.ablations if row.hidden == "image")
    assert image.cases == (present[:, 0] & (present.sum(axis=1) > 1)).sum()
    assert image.whole is not None
    assert image.without is not None
    assert image.loss is not None
    assert image.loss.value == pytest.approx(image.whole.value - image.without.value)
    assert found.complete_cases == present.all(axis=1).sum()


def test_doubts_are_counted_and_both_kinds_of_case_are_judged() -> None:
    doubts = find(evaluation(doubts=40)).doubts

    assert (doubts.cases, dict(doubts.reasons)) == (40, {"unlike <training>": 40})
    assert doubts.share == pytest.approx(1 / 3)
    assert doubts.with_doubts is not None
    assert doubts.without is not None


def test_examples_are_what_they_are_called() -> None:
    told = examples(evaluation(limits=Limits(0.3, 0.7, 0.1)))

    assert {one.kind for one in told} == {"right", "wrong", "uncertain"}
    for one in told:
        call = {"flagged": 1.0, "not flagged": 0.0}.get(one.finding.call)
        assert one.kind == ("uncertain" if call is None else "right" if call == one.answer else "wrong")
    for kind in ("right", "wrong", "uncertain"):
        cases = [one.case_id for one in told if one.kind == kind]
        assert len(set(cases)) == len(cases) > 0


def test_external_validation_says_so_and_makes_no_claim_about_its_own_cohort(tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluation(external=True))

    said = " ".join(Reader((tmp_path / "report.html").read_text()).text.split())
    assert "External validation" in said
    assert "of another cohort than the one it learnt from" in said
    assert "come from one cohort" not in said


def test_a_sample_in_which_nothing_can_be_judged_is_written_all_the_same(tmp_path: Path) -> None:
    made = evaluation()
    blank = replace(made.report.comparison, targets=np.full((120, 3), np.nan))
    made = replace(made, report=replace(made.report, comparison=blank))

    write_evaluation(tmp_path, made)

    assert "No curve" in (tmp_path / "report.html").read_text()


def voiced(loud: dict[str, float]) -> Evaluation:
    """Each modality says so much for every label of the even cases, and as much against it of the odd ones."""
    made = evaluation()
    predictions = tuple(
        replace(
            case,
            findings=tuple(
                replace(one, contributions=tuple(Contribution(m, loud[m] * (1 - 2 * (n % 2))) for m in MODALITIES))
                for one in case.findings
            ),
        )
        for n, case in enumerate(made.predictions)
    )
    return replace(made, predictions=predictions)


def test_a_modality_that_is_never_heard_is_named_beside_what_it_is_worth() -> None:
    found = find(voiced({"image": 2.0, "note": 1.0, "record": 0.01}))

    voices = {voice.modality: voice for voice in found.voices}
    assert {name for name, voice in voices.items() if voice.unheard} == {"record"}
    assert voices["image"].size == pytest.approx((2.0,) * len(LABELS))
    assert voices["image"].share == pytest.approx(2 / 3.01)
    losses = {row.hidden: row.loss for row in found.ablations}
    assert all(voice.loss == losses.get(name) for name, voice in voices.items())


def test_what_a_modality_tells_apart_is_its_mean_with_the_label_less_that_without() -> None:
    made = voiced({"image": 2.0, "note": 1.0, "record": 0.5})

    apart = next(voice for voice in find(made).voices if voice.modality == "note").apart[0]

    comparison = made.report.comparison
    said, there = np.array([1 - 2 * (n % 2) for n in range(120)]), comparison.present[:, 1]
    has, hasnt = (said[there & (comparison.targets[:, 0] == answer)].mean() for answer in (1, 0))
    assert apart == pytest.approx(has - hasnt)
