"""How a series happens to be stored, named and numbered never silently changes what the model says of it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medmm.case import Case, Study
from medmm.config import EncoderConfig, ImageRule, RunConfig
from medmm.model.folder import Model
from medmm.read.dicom.study import read_study
from medmm.read.remark import is_concern
from medmm.read.sources.source import Source
from tests.dicom_files import make_enhanced, save, write_stack
from tests.models import fusion, random_model

SLICES, ROWS, COLUMNS = 12, 48, 40
WINDOW: dict[str, Any] = {"WindowCenter": 40, "WindowWidth": 400}
MONOCHROME1: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1"}
HOUNSFIELD: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024}


@pytest.fixture(scope="module")
def model() -> Model:
    """Embedded encoders, and a random network that has something to say of every picture."""
    return random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion()))


def head(seed: int = 0) -> np.ndarray:
    """(slices, rows, columns) uint16: a ball with noise in it, in air; HU + 1024."""
    z, y, x = np.mgrid[-1 : 1 : SLICES * 1j, -1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    inside = x**2 + y**2 + z**2 < 0.8
    noise = np.random.default_rng(seed).normal(0, 30, inside.shape)
    return np.where(inside, 1064 + 60 * x + 40 * z + noise, 24).clip(0, 4095).astype(np.uint16)


def say(model: Model, study: Study) -> Tensor:
    """The model's log-odds of a case with this study alone."""
    return model.log_odds([model.encode(Case("c1", "p1", study))])


def read(source: Path | Source, *rules: ImageRule) -> Study:
    return read_study(source, "c1", rules)


@pytest.fixture(scope="module")
def plain(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """What the model says of the head, stored as scanners store it."""
    return say(model, read(write_stack(tmp_path_factory.mktemp("plain"), head(), **HOUNSFIELD, **WINDOW)))


def same(model: Model, study: Study, plain: Tensor) -> None:
    """The same answer, bit for bit, and nothing to warn of."""
    assert torch.equal(say(model, study), plain)
    assert not any(is_concern(remark) for remark in (*study.remarks, *study.volumes[0].remarks))


def test_shuffled_names_and_numbers_of_files_change_nothing(model: Model, plain: Tensor, tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(SLICES)
    names = [f"{place:03}.dcm" for place in order]
    folder = write_stack(
        tmp_path, head(), names=names, each=lambda place: {"InstanceNumber": int(order[place])}, **HOUNSFIELD, **WINDOW
    )

    same(model, read(folder), plain)


def test_a_stack_written_from_the_other_end_changes_nothing(model: Model, plain: Tensor, tmp_path: Path) -> None:
    positions = [(-10, 20, 2.5 * place) for place in range(SLICES)]
    folder = write_stack(tmp_path, head()[::-1], positions[::-1], **HOUNSFIELD, **WINDOW)

    same(model, read(folder), plain)


def test_one_enhanced_file_says_what_its_single_slices_say(model: Model, plain: Tensor, tmp_path: Path) -> None:
    positions = [(-10, 20, 2.5 * place) for place in range(SLICES)]
    save(make_enhanced(head(), positions), tmp_path / "one.dcm")

    same(model, read(tmp_path), plain)


def test_rescale_applied_says_what_rescale_stored_says(model: Model, plain: Tensor, tmp_path: Path) -> None:
    applied = (head().astype(np.int32) - 1024).astype(np.int16)
    same(model, read(write_stack(tmp_path, applied, **WINDOW)), plain)


def test_monochrome1_says_what_monochrome2_says(model: Model, plain: Tensor, tmp_path: Path) -> None:
    negative = (4095 - head()).astype(np.uint16)
    turned: dict[str, Any] = MONOCHROME1 | {"RescaleSlope": -1, "RescaleIntercept": 4095 - 1024}
    study = read(write_stack(tmp_path, negative, **turned, **WINDOW))

    # The same Hounsfield units, and a header that asks for low values in white: another picture, and said so.
    assert np.array_equal(study.volumes[0].voxels, head().astype(np.int16) - 1024)
    assert study.volumes[0].inverted
    stored: dict[str, Any] = MONOCHROME1 | {"WindowCenter": 4095 - 1064 + 1, "WindowWidth": 400}
    twin = read(write_stack(tmp_path / "twin", negative, **stored))
    torch.testing.assert_close(say(model, twin), plain, rtol=0, atol=1e-3)


def test_an_archive_says_what_its_folder_says(model: Model, plain: Tensor, tmp_path: Path) -> None:
    folder = write_stack(tmp_path / "study", head(), **HOUNSFIELD, **WINDOW)
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"a/{path.name}")

    same(model, read(Source(tmp_path / "study.zip")), plain)


def test_another_series_in_the_folder_is_another_volume_and_a_rule_tells_them_apart(
    model: Model, plain: Tensor, tmp_path: Path
) -> None:
    write_stack(tmp_path, head(), SeriesDescription="lung", SeriesNumber=1, **HOUNSFIELD, **WINDOW)
    names = [f"{place:03}b.dcm" for place in range(SLICES)]
    other: dict[str, Any] = {"SeriesDescription": "bone", "SeriesNumber": 2}
    write_stack(tmp_path, head(seed=9), names=names, series="1.2.3.5", **other, **HOUNSFIELD, **WINDOW)

    both, lung = read(tmp_path), read(tmp_path, ImageRule(description="lung"))

    assert [volume.slices for volume in both.volumes] == [SLICES, SLICES]
    assert not torch.equal(say(model, both), plain)
    assert torch.equal(say(model, lung), plain)
    assert any("no rule takes them" in remark or "no rule takes it" in remark for remark in lung.remarks), lung.remarks


def test_a_removed_slice_is_named_to_whoever_reads_the_prediction(model: Model, plain: Tensor, tmp_path: Path) -> None:
    folder = write_stack(tmp_path, head(), **HOUNSFIELD, **WINDOW)
    (folder / "005.dcm").unlink()

    features = model.encode(Case("c1", "p1", read(folder)))

    assert not torch.equal(model.log_odds([features]), plain)
    assert any(is_concern(remark) and "gap of 5 mm" in remark for remark in features.remarks)
