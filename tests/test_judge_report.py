"""The report says what the numbers allow, and nothing else; it stands alone, and it is the same twice."""

import json
import re
import subprocess
import sys
from dataclasses import astuple, replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medmm.judge import summary, words
from medmm.judge.comparison import Comparison, Need, Report
from medmm.judge.metrics import Estimate, Score, score_systems
from medmm.judge.report import write_report

LABELS = ("Effusion", "<b>Mass</b> & $x_1$", "Never stated")
NAMES = (
    "fused",
    "image only",
    "note only",
    "record only",
    "image + note only",
    "late ensemble (mean)",
    "textbook (concatenation)",
)


def make(*, multi_class: bool = False, cases: int = 120, seed: int = 0) -> Report:
    """A report of made-up systems; patients have two cases each, and the third label is never stated."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((cases, 3)) < 0.4).astype(float)
    targets[:, 2] = np.nan
    if multi_class:
        targets = np.eye(3)[rng.integers(0, 3, cases)]
    clues = 1.5 * np.nan_to_num(targets) + rng.normal(size=(cases, 3)) - 0.8
    systems = {name: 1 / (1 + np.exp(-(clues + 0.3 * i * rng.normal(size=(cases, 3))))) for i, name in enumerate(NAMES)}
    patients = tuple(f"secret-patient-{i // 2}" for i in range(cases))
    present = rng.random((cases, 3)) < [1.0, 0.7, 0.95]
    return Report(
        comparison=Comparison(systems, targets, tuple(f"secret-case-{i}" for i in range(cases)), patients, present),
        scores=score_systems(systems, targets, patients, LABELS, reference="fused", resamples=100),
        labels=LABELS,
        multi_class=multi_class,
        thresholds=dict.fromkeys(LABELS, 0.5),
        gates=np.tile(np.array([0, 0, 0, 1.0, 0, 0, 0, 0.25])[:, None], (1, 3)),
        needs=(Need(LABELS[0], ("image", "note"), ("image",), ("note",), (0.01, 0.02, 0.03, 0.94)),),
        refused={"missing-study": 2, "corrupt": 5},
        parts={"train": 500, "validation": 110, "test": cases},
        model_id="0123456789ab",
        version="9.8.7",
        seed=42,
        made_on=date(2031, 5, 4),
        resamples=100,
        ceilings={"perfect <reader>": 0.93},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, make())
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """The tags, the links and the text of a page as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_system_and_every_label_is_in_the_report(page: str) -> None:
    text = Reader(page).text

    for name in (*NAMES, *LABELS, "perfect <reader>", "missing-study", "0123456789ab", "9.8.7", "2031-05-04"):
        assert name in text


def test_the_sections_come_in_the_order_in_which_a_reviewer_asks() -> None:
    template = (Path(words.__file__).parent / "report.html").read_text(encoding="utf-8")

    found = re.findall(r'<section id="(\w+)">', template)

    assert found == ["comparison", "roc", "labels", "calibration", "patterns", "gates", "refused", "limits"]


def test_the_page_asks_nothing_of_the_net(page: str) -> None:
    reader = Reader(page)

    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert not {"script", "link", "iframe", "img", "object"} & set(reader.tags)
    assert len(page) < 2_000_000


def test_no_two_drawings_share_an_id_and_every_reference_is_met(page: str) -> None:
    reader = Reader(page)

    assert len(set(reader.ids)) == len(reader.ids)
    assert {link[1:] for link in reader.links} | set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.ids)


def test_a_label_that_is_html_is_shown_and_never_obeyed(page: str) -> None:
    assert "<b>Mass" not in page
    assert "&lt;b&gt;Mass&lt;/b&gt; &amp; $x_1$" in page
    assert "ceiling: perfect &lt;reader&gt;" in page  # drawn by matplotlib


def test_colours_belong_to_the_page_so_that_dark_and_paper_work(page: str) -> None:
    drawings = "".join(re.findall(r"<svg viewBox.*?</svg>", page, flags=re.DOTALL))

    assert "var(--series-0)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_no_case_and_no_patient_is_named(written: Path) -> None:
    for name in ("report.html", "metrics.json"):
        assert "secret" not in (written / name).read_text(encoding="utf-8")


def test_it_says_what_it_is_not_for(page: str) -> None:
    text = Reader(page).text

    assert "Decision support for research. Not a medical device. ‘Not flagged’ does not rule anything out." in text


@pytest.mark.parametrize(
    ("gain", "expected", "forbidden"),
    [
        (Estimate(0.05, 0.01, 0.09), "ranks better than image only", "not shown"),
        (Estimate(0.05, -0.001, 0.1), "is not shown to rank better than image only", "ranks better"),
        (Estimate(0.05, 0.0, 0.1), "is not shown to rank better than image only", "ranks better"),
        (Estimate(-0.05, -0.09, -0.01), "ranks worse than image only", "better than"),
        (Estimate(0.05, float("nan"), float("nan")), "cannot be told apart from image only", "better than"),
    ],
)
def test_the_headline_claims_only_what_the_interval_of_the_difference_allows(
    gain: Estimate, expected: str, forbidden: str
) -> None:
    report = make()
    own = Score("fused", Estimate(0.85, 0.8, 0.9), {}, Estimate(0, 0, 0))
    rival = Score("image only", Estimate(0.80, 0.7, 0.9), {}, gain)
    systems = {name: report.comparison.systems[name] for name in ("fused", "image only")}
    report = replace(report, comparison=replace(report.comparison, systems=systems), scores=(own, rival))

    said = words.headline(report)

    assert said.startswith(
        "On 120 test cases of 60 patients that training never saw, the fused model (macro AUROC 0.850"
    )
    assert expected in said
    assert forbidden not in said


def test_the_headline_measures_itself_against_the_strongest_rivals() -> None:
    report = make()
    gains = {"image only": 0.9, "note only": 0.95, "late ensemble (mean)": 0.99}
    scores = tuple(
        replace(score, macro=Estimate(gains.get(score.system, 0.8), 0.7, 1.0), gain=Estimate(0, -0.1, 0.1))
        for score in report.scores
    )

    said = words.headline(replace(report, scores=scores))

    assert "note only, the strongest single modality" in said
    assert "late ensemble (mean), the strongest of the other systems" in said


def test_a_run_in_which_nothing_can_be_judged_says_so_and_is_written_all_the_same(tmp_path: Path) -> None:
    report = make(cases=6)
    comparison = replace(report.comparison, targets=np.full((6, 3), np.nan))
    scores = score_systems(
        comparison.systems, comparison.targets, comparison.patients, LABELS, reference="fused", resamples=10
    )

    write_report(tmp_path, replace(report, comparison=comparison, scores=scores, gates=None, refused={}, ceilings={}))

    text = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "cannot be judged" in text
    assert "too few cases" in text
    assert "everything in the cohort could be read" in text


def test_a_model_without_rivals_claims_nothing(tmp_path: Path) -> None:
    report = make()
    comparison = replace(report.comparison, systems={"fused": report.comparison.systems["fused"]})

    write_report(tmp_path, replace(report, comparison=comparison, scores=report.scores[:1]))

    assert "was compared with nothing" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_report_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_report(tmp_path, make())

    for name in ("metrics.json", "report.html"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_the_numbers_do_not_depend_on_the_day(written: Path, tmp_path: Path) -> None:
    write_report(tmp_path, replace(make(), made_on=date(2040, 1, 1)))

    assert (tmp_path / "metrics.json").read_bytes() == (written / "metrics.json").read_bytes()


def test_page_and_file_hold_the_same_numbers(written: Path, page: str) -> None:
    numbers = json.loads((written / "metrics.json").read_text(encoding="utf-8"))

    text = Reader(page).text
    assert numbers["headline"] in text
    for system in numbers["systems"]:
        assert f"{system['macro']['value']:.3f}" in text
    assert numbers["refused"] == {"corrupt": 5, "missing-study": 2}
    assert numbers["labels"][2]["auroc"] == {"value": None, "low": None, "high": None}
    assert numbers["labels"][2]["not_stated"] == 120


def test_patterns_add_up_to_the_test_cases_and_few_cases_are_not_judged() -> None:
    report = make()

    found = summary.summarise(report)

    assert sum(row.cases for row in found.patterns) == 120
    full = found.patterns[0]
    assert full.present == ("image", "note", "record")
    assert set(full.macro) == {"fused", "image only", "note only", "record only"}
    assert full.judged == LABELS[:2]
    small = [row for row in found.patterns if row.cases < 2 * summary.TOO_FEW]
    assert small
    assert not any(row.macro for row in small)


def test_a_modality_that_the_model_does_not_use_makes_no_pattern() -> None:
    found = summary.summarise(replace(make(), modalities=("image", "record")))

    assert {m for row in found.patterns for m in row.present} == {"image", "record"}
    assert found.gates is not None
    assert [row.present for row in found.gates] == [("image", "record")]


def test_gates_are_told_in_words() -> None:
    found = summary.summarise(make()).gates

    assert found is not None
    assert {row.present: row.in_words.split(":")[0] for row in found} == {
        ("image", "note", "record"): "25 % of it",
        ("image", "note"): "all of it",
        ("image", "record"): "none",
        ("note", "record"): "none",
    }


def test_what_needs_two_things_says_who_tells_of_each_and_how_likely_it_is(page: str, tmp_path: Path) -> None:
    assert "What needs two things together" in page
    row = page[page.index("What needs two things together") :].split("</tr>")[1]
    cells = [cell for cell in re.sub(r"<[^>]+>", "|", row).split("|") if cell.strip()]
    assert cells == [LABELS[0], "image + note", "image", "note", "0.01", "0.02", "0.03", "0.94"]

    write_report(tmp_path, replace(make(), needs=()))
    assert "two things" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_classes_are_counted_by_what_is_named(tmp_path: Path) -> None:
    report = make(multi_class=True)

    write_report(tmp_path, report)

    classes = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["classes"]
    confusion = np.array(classes["confusion"])
    assert confusion.sum(axis=1).tolist() == report.comparison.targets.sum(axis=0).tolist()
    recall = confusion.diagonal() / confusion.sum(axis=1)
    assert classes["balanced_accuracy"]["value"] == pytest.approx(recall.mean(), abs=1e-6)


def test_a_report_whose_parts_do_not_fit_cannot_be_made() -> None:
    report = make()

    with pytest.raises(ValueError, match="labels"):
        replace(report, labels=LABELS[:2])
    with pytest.raises(ValueError, match="score"):
        replace(report, scores=report.scores[::-1])
    with pytest.raises(ValueError, match="threshold"):
        replace(report, thresholds={})


@pytest.mark.parametrize(
    ("value", "text"), [(-0.25, "−0.250"), (-0.0001, "0.000"), (0.5, "0.500"), (float("nan"), "n/a")]
)
def test_numbers_have_a_true_minus_sign_and_nothing_is_minus_nothing(value: float, text: str) -> None:
    assert words.minus(value) == text


def test_judging_loads_no_torch_and_drawing_waits_until_it_is_asked_for() -> None:
    code = "import sys, medmm.judge.report; print([m for m in ('torch', 'matplotlib', 'jinja2') if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_drawing_leaves_the_settings_of_matplotlib_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)

    write_report(tmp_path, make())

    assert dict(matplotlib.rcParams) == before


def in_folds(**other: float) -> Report:
    """The report of `make`, as of three folds, two of which speak on another scale."""
    whole = make()
    fold = np.arange(len(whole.comparison.patients)) // 40
    lift = np.array([other.get("lift", 0.0) if n else 0.0 for n in fold])[:, None]
    systems = {name: 1 / (1 + np.exp(-np.log(p / (1 - p)) - lift)) for name, p in whole.comparison.systems.items()}
    thresholds = np.repeat(1 / (1 + np.exp(-lift)), 3, axis=1)
    comparison = replace(whole.comparison, systems=systems, strata=fold, thresholds=thresholds)
    scores = score_systems(
        systems,
        comparison.targets,
        comparison.patients,
        LABELS,
        reference="fused",
        resamples=100,
        strata=fold,
    )
    return replace(whole, comparison=comparison, scores=scores, folds=3)


def test_figures_of_folds_do_not_depend_on_the_scale_that_each_fold_speaks_on() -> None:
    near, far = (summary.summarise(in_folds(lift=lift)) for lift in (0.0, 2.5))

    for one, other in zip(near.labels, far.labels, strict=True):
        for name in ("auroc", "sensitivity", "specificity"):
            np.testing.assert_allclose(astuple(getattr(one, name)), astuple(getattr(other, name)))
    for row, moved in zip(near.patterns, far.patterns, strict=True):
        for name in row.macro:
            np.testing.assert_allclose(astuple(row.macro[name]), astuple(moved.macro[name]))


def test_a_report_of_folds_says_that_its_figures_are_the_recipe_s_and_not_the_saved_model_s(tmp_path: Path) -> None:
    write_report(tmp_path, in_folds())

    said = " ".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text.split())

    assert "3 folds, each with a model of its own" in said
    assert "the figures estimate what the recipe gives" in said
    assert "the recipe of the model that was saved" in said
    assert json.loads((tmp_path / "metrics.json").read_text())["folds"] == 3


def test_a_report_of_a_hold_out_speaks_of_no_folds(page: str, written: Path) -> None:
    assert "fold" not in Reader(page).text
    assert json.loads((written / "metrics.json").read_text())["folds"] is None


def test_a_side_that_another_drowns_is_named(tmp_path: Path) -> None:
    report = make(cases=400)
    comparison = report.comparison
    quiet = np.random.default_rng(0).random(comparison.targets.shape)
    alone = {f"{side} only": comparison.systems["fused"] for side in ("image", "note")}
    inside = {"image": quiet, "note": comparison.systems["fused"]}
    systems = comparison.systems | alone
    told = replace(
        report,
        comparison=replace(comparison, systems=systems, inside=inside),
        scores=score_systems(
            systems, comparison.targets, comparison.patients, LABELS, reference="fused", resamples=100
        ),
    )

    write_report(tmp_path, told)

    text = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "The image says less inside the joint model than on its own" in text
    assert "The note is not shown to say less" in text
