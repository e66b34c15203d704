"""What the sample cohort promises: the same bytes for the same seed, an exact truth, notes that tell no answer."""

import csv
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from medmm.config import CohortConfig, NumberColumn, read_toml
from medmm.errors import CohortError
from sample_data import facts, notes, record, truth
from sample_data.cohort import STAMP, write_cohort
from sample_data.dicom import TRANSFER_SYNTAXES, write_film
from sample_data.film import Film, make_film
from sample_data.findings import FINDINGS

ANSWERS = re.compile(
    r"pneumoni|heart failure|\bCHF\b|\bCCF\b|\bHF\b|cardiac failure|decompensat|cancer|malignan|carcinoma|neoplas"
    r"|tumou?r|metasta|pneumothora|\bPTX\b|collapse|embol|\bPE\b|\bVTE\b|\bDVT\b|thrombo|\bclots?\b|consolidat|infiltrat|opaci"
    r"|effusion|pleural|cardiomegaly|enlarged heart|big heart|nodul|\bmass\b|lesion|shadow|infection|\bLRTI\b|sepsis",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "sample"
    write_cohort(folder, patients=24, seed=3, workers=1)
    return folder


@pytest.fixture(scope="module")
def film() -> Film:
    return make_film(np.random.default_rng(5), ["consolidation"])


@pytest.fixture(scope="module")
def draw() -> truth.Draw:
    return truth.draw_cases(np.random.default_rng(11), 60_000)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_cohort(tmp_path / name, patients=6, seed=8, workers=1)

    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_gives_other_films(cohort: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path, patients=3, seed=4, workers=1)

    mine, other = set(digests(cohort / "studies").values()), set(digests(tmp_path / "studies").values())
    assert not mine & other


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    write_cohort(tmp_path / "one", patients=12, seed=1, workers=1)
    write_cohort(tmp_path / "two", patients=12, seed=1, workers=2)

    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_complete_cohort_is_left_alone(cohort: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}

    write_cohort(cohort, patients=24, seed=3, workers=1)

    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before


def test_a_cohort_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    write_cohort(tmp_path, patients=3, seed=2, workers=1)
    whole = digests(tmp_path)
    stamp = json.loads((tmp_path / STAMP).read_text())
    (tmp_path / STAMP).write_text(json.dumps(stamp | {"complete": False}))
    (tmp_path / "cases.csv").unlink()

    write_cohort(tmp_path, patients=3, seed=2, workers=1)

    assert digests(tmp_path) == whole


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(CohortError, match="not empty"):
        write_cohort(tmp_path, patients=2, workers=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_cohort_is_described_by_its_own_toml(cohort: Path) -> None:
    config = read_toml(cohort / "cohort.toml", CohortConfig)

    columns = set(rows(cohort / "cases.csv")[0])
    assert config.labels is not None
    assert {config.case_id, config.patient_id, config.study, config.note} <= columns
    assert set(config.labels.columns) | set(config.record) <= columns


def test_every_measure_states_the_usual_range_of_adults_within_its_bounds(cohort: Path) -> None:
    config = read_toml(cohort / "cohort.toml", CohortConfig)

    for measure in record.MEASURES:
        column = config.record[measure.name]
        assert isinstance(column, NumberColumn)
        assert column.usual == measure.reference
        assert measure.low <= column.usual[1] <= measure.high


def test_no_note_names_an_answer(draw: truth.Draw) -> None:
    for k in range(3000):
        note = notes.write_note(np.random.default_rng(k), draw.statements[k], 20 + k % 70, k % 2 == 0)

        assert not ANSWERS.search(note), note
        assert "{" not in note


def test_no_wording_names_an_answer() -> None:
    said = [text for fact in facts.FACTS for text in (*fact.yes, *fact.no, fact.noun)]

    for text in (*said, *notes.COMPLAINTS, *notes.OPENINGS, *notes.FILLERS, *notes.CLOSINGS):
        assert not ANSWERS.search(text), text


def test_denials_are_plentiful(draw: truth.Draw) -> None:
    assert (draw.statements == -1).mean() > 0.2
    assert (draw.statements == 1).mean() > 0.1


@pytest.mark.parametrize("side", truth.SIDES)
def test_posteriors_match_the_frequency_of_the_labels(draw: truth.Draw, side: str) -> None:
    chance = truth.posteriors(draw)[side]

    for k, _ in enumerate(truth.LABELS):
        bins = np.digitize(chance[:, k], [0.02, 0.1, 0.3, 0.6, 0.9])
        for n in np.unique(bins):
            said, seen = chance[bins == n, k], draw.labels[bins == n, k]
            tolerance = 4 * np.sqrt(np.sum(said * (1 - said))) / len(said) + 1e-9
            assert abs(said.mean() - seen.mean()) < tolerance


def test_a_missing_side_leaves_the_prior(draw: truth.Draw) -> None:
    nothing = truth.posteriors(draw, np.zeros_like(draw.present))

    for chance in nothing.values():
        np.testing.assert_allclose(chance, np.broadcast_to(nothing["all"][0], chance.shape))
        np.testing.assert_allclose(chance[0], draw.labels.mean(axis=0), atol=0.01)


@pytest.mark.parametrize("population", ["complete", "cohort"])
def test_the_fused_ceiling_is_above_both_sides(cohort: Path, population: str) -> None:
    found = json.loads((cohort / "truth" / "ceilings.json").read_text())[population]

    assert found["all"]["macro"] > 0.94
    for side in ("image", "note_record"):
        assert 0.74 < found[side]["macro"] < 0.81
        for label in ("pneumonia", "heart_failure", "lung_cancer"):
            assert found["all"][label] > found[side][label] + 0.08


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_a_mask_marks_what_the_finding_changed(finding: str, view: str) -> None:
    with_it = make_film(np.random.default_rng(21), [finding], view=view)
    without = make_film(np.random.default_rng(21), [], view=view)

    mask = with_it.masks[finding]
    change = np.abs(shown(with_it) - shown(without))
    assert set(with_it.masks) == {finding}
    assert mask.shape == with_it.pixels.shape
    assert mask.dtype == np.bool_
    assert mask.any()
    assert change[mask].mean() > 0.02
    assert change[mask].mean() > 3 * change[~mask].mean()


def shown(film: Film) -> np.ndarray:
    """What a viewer shows of stored values, 0 to 1."""
    centre, width = film.window
    return np.clip((film.pixels.astype(float) - centre + 0.5) / (width - 1) + 0.5, 0, 1)


def test_masks_are_written_for_every_planted_finding(cohort: Path) -> None:
    for row in rows(cohort / "truth" / "cases.csv"):
        path = cohort / "truth" / "masks" / f"{row['case_id']}.npz"
        if not path.exists():
            continue
        planted = {name for name in FINDINGS if row[f"finding_{name}"] == "1"}
        frontal = next(p for p in (cohort / "studies" / row["case_id"]).iterdir() if p.stem != "ll")
        with np.load(path) as masks:
            assert set(masks.files) == planted
            assert all(masks[name].shape == dcmread(frontal).pixel_array.shape for name in planted)


def test_every_pattern_of_missing_sides_that_matters_exists(cohort: Path) -> None:
    table = rows(cohort / "cases.csv")

    present = np.array([[bool(row["study"]), bool(row["note"]), any(row[c] for c in RECORD)] for row in table])
    assert present.any(axis=1).all()
    assert 0.7 < present.all(axis=1).mean() < 1
    assert any(row[label] == "" for row in table for label in truth.LABELS)
    assert all(Path(cohort, row["study"]).is_dir() for row in table if row["study"])


RECORD = ("age", "sex", "temperature_c", "spo2_percent", "crp_mg_l", "white_cells_10e9_l")


def test_missing_is_as_frequent_as_written(draw: truth.Draw) -> None:
    missing = 1 - draw.present.mean(axis=0)

    np.testing.assert_allclose(missing, [truth.NO_IMAGE, truth.NO_NOTE, truth.NO_RECORD], atol=0.005)
    assert draw.present.any(axis=1).all()


def test_some_patients_have_two_cases(cohort: Path) -> None:
    patients = [row["patient_id"] for row in rows(cohort / "cases.csv")]

    assert len(set(patients)) == 24
    assert len(patients) > 24


def test_six_transfer_syntaxes_and_both_photometric_interpretations_exist(cohort: Path) -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in (cohort / "studies").rglob("*.dcm")]

    assert {str(header.file_meta.TransferSyntaxUID) for header in headers} == set(TRANSFER_SYNTAXES)
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {header.ViewPosition for header in headers} == {"PA", "AP", "LL"}
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_every_transfer_syntax_reads_back_to_the_same_pixels(tmp_path: Path, film: Film, syntax: str) -> None:
    write_film(tmp_path / "film.dcm", film, monochrome1=False, transfer_syntax=syntax)

    dataset = dcmread(tmp_path / "film.dcm")
    assert str(dataset.file_meta.TransferSyntaxUID) == syntax
    np.testing.assert_array_equal(dataset.pixel_array, film.pixels)


def test_both_photometric_interpretations_look_the_same(tmp_path: Path, film: Film) -> None:
    pictures = []
    for inverted in (False, True):
        path = tmp_path / f"{inverted}.dcm"
        write_film(path, film, monochrome1=inverted, transfer_syntax=TRANSFER_SYNTAXES[0])
        dataset = dcmread(path)
        window = float(dataset.WindowCenter), float(dataset.WindowWidth)
        picture = shown(dataclasses.replace(film, pixels=dataset.pixel_array, window=window))
        pictures.append(1 - picture if inverted else picture)

    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-6)


def test_an_unknown_transfer_syntax_is_refused(tmp_path: Path, film: Film) -> None:
    with pytest.raises(ValueError, match="not one of"):
        write_film(tmp_path / "film.dcm", film, monochrome1=False, transfer_syntax="1.2.3")


def test_the_heart_lies_on_the_patients_left() -> None:
    mask = make_film(np.random.default_rng(2), ["cardiomegaly"]).masks["cardiomegaly"]

    columns = np.flatnonzero(mask.any(axis=0))
    assert columns.mean() > mask.shape[1] / 2
