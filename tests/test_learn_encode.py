"""A cohort through the encoders: what is joined, what is remembered, and what is refused."""

import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmm.config import CohortConfig, EncoderConfig, ImageRule, RunConfig
from medmm.errors import Reason
from medmm.learn import encode
from medmm.learn.encode import EncodedCohort, EncodedRow, encode_cohort
from medmm.learn.examples import encode as encode_for
from medmm.learn.typical import typical_of
from medmm.model.batch import PRIOR
from medmm.model.cache import FeatureCache
from medmm.model.encode import Encoders
from medmm.model.folder import Model
from medmm.model.fusion import Network
from medmm.read.cohort import Cohort, read_cohort
from medmm.read.pool import read_cases
from medmm.tensors import RecordBins
from tests.dicom_files import slices, write, write_stack
from tests.models import WIDTHS, card, fusion, write_bert, write_torchvision

COLUMNS = "case_id,patient_id,study,prior,note"
ROWS = ["now,p1,now,before,no fever", "alone,p2,alone,,cough", "written,p3,,,no cough", "crossed,p4,alone,before,cough"]
STUDIES = {"now": ("p1", "20240601"), "before": ("p1", "20240101"), "alone": ("p2", "20240301")}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    folder = tmp_path_factory.mktemp("encoders")
    weights = write_torchvision(folder / "resnet18.safetensors")
    bert = write_bert(folder / "bert")
    config = EncoderConfig(image="torchvision:resnet18", image_weights=str(weights), image_size=64, text=str(bert))
    return Encoders(config)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    folder = tmp_path / "cohort"
    for number, (name, (patient, date)) in enumerate(STUDIES.items()):
        pixels = np.random.default_rng(number).integers(0, 4000, (40, 30)).astype(np.uint16)
        write(
            folder / name / "film.dcm", pixels, PatientID=patient, StudyDate=date, StudyInstanceUID=f"1.2.{number + 1}"
        )
    (folder / "cases.csv").write_text("\n".join([COLUMNS, *ROWS]) + "\n")
    return read_cohort(folder, CohortConfig(prior="prior"))


def encoded(cohort: Cohort, encoders: Encoders, cache: Path) -> EncodedCohort:
    return encode_cohort(cohort, encoders, cache, lambda done, total: None, workers=1)


def by_id(found: EncodedCohort) -> dict[str, EncodedRow]:
    return {case.row.case_id: case for case in found.cases}


def test_the_sides_of_each_row_are_joined(cohort: Cohort, encoders: Encoders, tmp_path: Path) -> None:
    found = by_id(encoded(cohort, encoders, tmp_path / "cache"))

    assert list(found) == ["now", "alone", "written"]
    now, alone, written = (found[name].features(encoders, RecordBins({}, {})) for name in found)
    assert int(now.place[:, PRIOR].sum()) == len(now.layout.prior[0].cells) > 0
    assert alone.layout.prior == ()
    assert (written.present, alone.present) == ((False, True, False), (True, True, False))
    assert found["alone"].case.study is not None
    assert found["alone"].case.study.time is not None
    assert found["alone"].case.study.time.date() == datetime(2024, 3, 1).date()


def test_a_model_that_knows_no_prior_study_is_judged_without_one(
    cohort: Cohort, encoders: Encoders, tmp_path: Path
) -> None:
    described = replace(cohort, config=CohortConfig())
    model = Model(card(RunConfig(), described.config), Network(WIDTHS, 3, False, fusion("product")), encoders, "")

    found = by_id(encode_for(model, described, tmp_path / "cache", lambda done, total: None, workers=1))

    assert found["now"].case.study is not None
    assert [case.case.prior for case in found.values()] == [None] * len(found)


def test_the_typical_picture_is_of_pictures_as_they_are_read_now(encoders: Encoders, tmp_path: Path) -> None:
    for n in range(2):
        write_stack(tmp_path / f"s{n}", slices(5, 24, 20) + np.uint16(n))
    (tmp_path / "cases.csv").write_text("case_id,patient_id,study\na,p0,s0\nb,p1,s1\n")

    def typical(window: tuple[float, float], cache: Path) -> torch.Tensor:
        rules = (ImageRule(modality=("CT",), window=window),)
        read = read_cohort(tmp_path, CohortConfig(images=rules))
        made = typical_of(read, encoded(read, encoders, cache).cases, encoders, FeatureCache(cache, encoders), 0, 1)
        assert made is not None
        return made.maps

    lung, soft = (typical(window, tmp_path / "shared") for window in ((-600, 1500), (40, 400)))

    assert not torch.equal(lung, soft)
    assert torch.equal(soft, typical((40, 400), tmp_path / "fresh"))


def test_the_prior_study_of_another_patient_is_refused_each_time(
    cohort: Cohort, encoders: Encoders, tmp_path: Path
) -> None:
    for _ in range(2):
        (refused,) = encoded(cohort, encoders, tmp_path / "cache").refused

        assert (refused.case_id, refused.code) == ("crossed", Reason.WRONG_PRIOR)


def test_what_was_encoded_once_is_not_decoded_again_and_is_the_same(
    cohort: Cohort, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = by_id(encoded(cohort, encoders, tmp_path / "cache"))
    asked: list[str] = []

    def watched(cohort: Cohort, rows: Any, workers: int | None, enough: int | None) -> Any:
        asked.extend(row.case_id for row in rows)
        return read_cases(cohort, rows, workers, enough)

    monkeypatch.setattr("medmm.learn.encode.read_cases", watched)

    second = by_id(encoded(cohort, encoders, tmp_path / "cache"))

    assert asked == ["crossed"]
    for name, case in first.items():
        one, other = (c.features(encoders, RecordBins({}, {})) for c in (case, second[name]))
        for tensor in ("image", "place", "note"):
            assert torch.equal(getattr(one, tensor), getattr(other, tensor))
        assert one.layout == other.layout


def test_progress_counts_every_row_once(cohort: Cohort, encoders: Encoders, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        encode_cohort(cohort, encoders, tmp_path / "cache", lambda done, total: told.append((done, total)), workers=1)

    assert told == 2 * [(n, 4) for n in range(1, 5)]


def test_a_study_that_cannot_be_read_is_refused_though_another_could_not_be_when_it_was_looked_for(
    cohort: Cohort, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is still being copied when the cohort is begun and whole when it is read; another stays damaged."""
    for name in ("alone", "now"):
        (cohort.folder / f"{name}.zip").write_bytes(b"half of an archive")
    (cohort.folder / "cases.csv").write_text(f"{COLUMNS}\nlate,p2,alone.zip,,\nbad,p1,now.zip,,\n")
    both = read_cohort(cohort.folder, CohortConfig(prior="prior"))

    def arrives(*given: Any) -> Any:
        with zipfile.ZipFile(cohort.folder / "alone.zip", "w") as archive:
            archive.write(cohort.folder / "alone" / "film.dcm", "film.dcm")
        return read_cases(*given)

    monkeypatch.setattr(encode, "read_cases", arrives)
    first = encoded(both, encoders, tmp_path / "cache")
    monkeypatch.undo()
    again = encoded(both, encoders, tmp_path / "cache")

    for found in (first, again):
        assert list(by_id(found)) == ["late"]
        assert [(one.case_id, one.code) for one in found.refused] == [("bad", Reason.CORRUPT)]


def test_a_study_that_changed_before_it_was_read_is_kept_as_what_it_is_now(
    cohort: Cohort, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, earlier = cohort.folder / "alone" / "film.dcm", (cohort.folder / "alone" / "film.dcm").read_bytes()

    def changes(*given: Any) -> Any:
        pixels = np.random.default_rng(9).integers(0, 4000, (40, 30)).astype(np.uint16)
        write(film, pixels, PatientID="p2", StudyDate="20240301", StudyInstanceUID="1.2.3")
        return read_cases(*given)

    monkeypatch.setattr(encode, "read_cases", changes)
    changed = by_id(encoded(cohort, encoders, tmp_path / "cache"))["alone"]
    monkeypatch.undo()
    film.write_bytes(earlier)
    back, fresh = (by_id(encoded(cohort, encoders, tmp_path / name))["alone"] for name in ("cache", "fresh"))

    assert changed.case.study is not None
    assert back.case.study is not None
    assert fresh.case.study is not None
    assert torch.equal(back.case.study.tokens, fresh.case.study.tokens)
    assert not torch.equal(back.case.study.tokens, changed.case.study.tokens)
